"""Video and audio, by ffmpeg and ffprobe.

What a file is, is told by its content, among a list of formats none of which names other files: no playlists, no lists
of files, no image sequences. No protocol but that of files of this machine is spoken.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from redqueue.errors import Discard
from redqueue.processors.file_processing.bench import Bench
from redqueue.processors.file_processing.limits import Limits
from redqueue.processors.file_processing.tools import run_tool
from redqueue.shapes import Frame, Transcode

CONTAINERS: Final = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,flv,mpeg,mpegts,ogg,wav,mp3,flac,aac"
MOST_STREAMS: Final = 20
"""That the result tells of."""
MISSING_SECONDS: Final = 0.5
MISSING_SHARE: Final = 0.05
"""How much shorter the outcome may be than the source says to be: by the larger of the two."""

_SAFE: Final = ("-protocol_whitelist", "file,pipe", "-format_whitelist", CONTAINERS)
_VIDEO: Final = "scale=trunc(iw/2)*2:trunc(ih/2)*2"  # H.264 in 4:2:0 has even sides only

TARGETS: Final[Mapping[str, str]] = {
    "mp4": "-c:v libx264 -preset veryfast -crf 23 -pix_fmt yuv420p -c:a aac -movflags +faststart -f mp4",
    "webm": "-c:v libvpx-vp9 -deadline realtime -cpu-used 6 -crf 32 -b:v 0 -pix_fmt yuv420p -c:a libopus -f webm",
    "mp3": "-vn -c:a libmp3lame -q:a 2 -f mp3",
    "ogg": "-vn -c:a libopus -f ogg",
    "wav": "-vn -c:a pcm_s16le -f wav",
    "flac": "-vn -c:a flac -f flac",
}
WITH_PICTURES: Final = frozenset({"mp4", "webm"})


class _Disposition(msgspec.Struct, frozen=True):
    attached_pic: int = 0


class _Stream(msgspec.Struct):
    codec_type: str = ""
    codec_name: str = ""
    duration: str | None = None
    width: int | None = None
    height: int | None = None
    sample_rate: str | None = None
    channels: int | None = None
    disposition: _Disposition = _Disposition()

    @property
    def kind(self) -> str:
        """What it is to who plays the file: the cover of a song is no video."""
        return "cover" if self.disposition.attached_pic else self.codec_type


class _Format(msgspec.Struct):
    format_name: str = ""
    duration: str | None = None


class _Probed(msgspec.Struct):
    streams: list[_Stream] = []
    format: _Format | None = None


class Facts(msgspec.Struct):
    """What a file of video or audio is; `duration` in seconds, 0 when it doesn't say."""

    format: str
    duration: float
    streams: list[_Stream]

    def has(self, kind: str) -> bool:
        """Whether it has a stream of "video" or "audio"; a cover is neither."""
        return any(stream.kind == kind for stream in self.streams)

    def lasts(self, kinds: Collection[str]) -> float:
        """Seconds of the longest stream of these kinds; 0 when that isn't said."""
        if all(stream.kind in kinds for stream in self.streams):
            return self.duration
        return max((_seconds(stream.duration) for stream in self.streams if stream.kind in kinds), default=0)

    def told(self) -> dict[str, Any]:
        """For the result."""
        shown = [_told(stream) for stream in self.streams[:MOST_STREAMS]]
        return {"format": self.format, "duration": self.duration, "streams": shown}


def probe(path: Path, bench: Bench) -> Facts:
    """What the file is.

    Raises:
        Discard: it is neither video nor audio of a known container, is damaged, or too long.
        ConfigurationError: ffprobe isn't on PATH.
    """
    said: list[str] = []
    wanted = "format=format_name,duration:stream=codec_type,codec_name,duration,width,height,sample_rate,channels"
    wanted += ":stream_disposition=attached_pic"
    command = ["ffprobe", "-v", "error", *_SAFE, "-show_entries", wanted, "-of", "json", f"file:{path}"]
    try:
        run_tool(command, bench, said.append)
    except Discard as error:
        raise Discard(f"the file is no video or audio of a known format: {error.reason}") from None
    try:
        probed = msgspec.json.decode("".join(said), type=_Probed)
    except msgspec.MsgspecError:
        raise Discard("ffprobe says nothing of the file") from None
    if probed.format is None or not probed.streams:
        raise Discard("the file has neither video nor audio")
    duration = _seconds(probed.format.duration)
    if duration > bench.limits.seconds:
        raise Discard(f"it lasts {duration:,.0f} seconds, more than {bench.limits.seconds:,}")
    return Facts(probed.format.format_name, duration, probed.streams)


def take_frame(path: Path, to: Path, operation: Frame, bench: Bench) -> dict[str, Any]:
    """One picture of a video, as PNG.

    Raises:
        Discard: it has none at that time, or `probe` refuses it.
    """
    facts = probe(path, bench)
    if not facts.has("video"):
        raise Discard("the file has no pictures")
    _check_pixels(facts, bench.limits)
    picked = ("-map", "0:V:0", "-frames:v", "1", "-c:v", "png", "-f", "image2", "-update", "1")
    command = [*_ffmpeg(bench.limits), "-ss", f"{operation.at:.3f}", *_input(path, bench.limits), *picked, f"file:{to}"]
    run_tool(command, bench, lambda line: None)
    if not to.exists():
        raise Discard(f"the video has no picture at {operation.at:g} seconds: it lasts {facts.duration:g}")
    return {"at": operation.at, "duration": facts.duration}


def transcode(path: Path, to: Path, operation: Transcode, bench: Bench) -> dict[str, Any]:
    """Encode it anew, without metadata.

    Raises:
        Discard: it is damaged or cut off, has nothing that the target takes, or `probe` refuses it.
    """
    facts = probe(path, bench)
    pictures = operation.format in WITH_PICTURES and facts.has("video")
    if not pictures and not facts.has("audio"):
        raise Discard(f"the file has nothing that can become {operation.format}")
    _check_pixels(facts, bench.limits)

    def heard(line: str) -> None:
        name, _, value = line.partition("=")
        if name == "out_time_us" and value.isdigit() and facts.duration:
            bench.tell(min(int(value) / 1e6 / facts.duration, 1))

    picked = ["-map", "0:V:0?", "-map", "0:a:0?", "-sn", "-dn", "-map_metadata", "-1", "-map_chapters", "-1"]
    if pictures:
        picked += ["-vf", _VIDEO if operation.height is None else f"scale=-2:'trunc(min(ih,{operation.height})/2)*2'"]
    encoded = [*TARGETS[operation.format].split(), "-threads", str(bench.limits.tool_threads)]
    command = [
        *_ffmpeg(bench.limits),
        *_input(path, bench.limits),
        *picked,
        *encoded,
        "-t",
        str(bench.limits.seconds + 1),  # of a file that doesn't say how long it is
        "-progress",
        "pipe:1",
        f"file:{to}",
    ]
    run_tool(command, bench, heard)
    made, whole = probe(to, bench), facts.lasts(("video", "audio") if pictures else ("audio",))
    if made.duration < whole - max(MISSING_SECONDS, MISSING_SHARE * whole):
        raise Discard(f"the file is cut off: it says to last {whole:g} seconds, and has {made.duration:g}")
    return made.told()


def _ffmpeg(limits: Limits) -> list[str]:
    threads = str(limits.tool_threads)
    return ["ffmpeg", "-v", "error", "-nostdin", "-y", "-xerror", "-filter_threads", threads]


def _input(path: Path, limits: Limits) -> list[str]:
    decoding = ["-threads", str(limits.tool_threads), "-max_pixels", str(limits.pixels)]
    return [*_SAFE, *decoding, "-i", f"file:{path}"]


def _check_pixels(facts: Facts, limits: Limits) -> None:
    for stream in facts.streams:
        if (stream.width or 0) * (stream.height or 0) > limits.pixels:
            raise Discard(f"its pictures have more than {limits.pixels:,} pixels")


def _seconds(text: str | None) -> float:
    try:
        return max(0.0, round(float(text or 0), 3))
    except ValueError:
        return 0.0


def _told(stream: _Stream) -> dict[str, Any]:
    told: dict[str, Any] = {"type": stream.codec_type[:32], "codec": stream.codec_name[:32]}
    if stream.codec_type == "video":
        told |= {"width": stream.width, "height": stream.height}
    if stream.codec_type == "audio":
        told |= {"channels": stream.channels, "rate": int(stream.sample_rate or 0)}
    return told
