"""Video and audio, by the ffmpeg that is on PATH."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from redqueue.errors import ConfigurationError, JobCancelled
from redqueue.processors.file_processing import FileProcessor, Limits, confinement
from redqueue.processors.file_processing.bench import Bench
from redqueue.processors.file_processing.confinement import work_folder
from redqueue.processors.file_processing.tools import run_tool
from redqueue.shapes import Checksum, Convert, Frame, Probe, Thumbnail, Transcode
from redqueue.testing import job_context

from .conftest import Desk, image_bytes, job, needs

GUARD = 20.0
PICTURES = ("-f", "lavfi", "-i", "testsrc=d=2:s=162x90:r=10")
SOUND = ("-f", "lavfi", "-i", "sine=d=2")
H264 = ("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p")


@pytest.fixture(scope="session")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with film.mp4, film.mkv, silent.mp4 and sound.wav."""
    needs("ffmpeg")
    needs("ffprobe")
    folder = tmp_path_factory.mktemp("films")
    for name, words in {
        "film.mp4": (*PICTURES, *SOUND, *H264, "-c:a", "aac", "-metadata", "title=canary", "-movflags", "+faststart"),
        "film.mkv": (*PICTURES, *SOUND, *H264, "-c:a", "aac"),
        "silent.mp4": (*PICTURES, *H264),
        "sound.wav": SOUND,
    }.items():
        subprocess.run(["ffmpeg", "-v", "error", "-nostdin", *words, folder / name], check=True, timeout=GUARD)
    return folder


@pytest.fixture
def filmed(desk: Desk, films: Path) -> Desk:
    for film in films.iterdir():
        desk.put(film.name, film.read_bytes())
    return desk


def test_probing_tells_what_a_film_is(filmed: Desk) -> None:
    (told,) = filmed.process("film.mp4", None, Probe()).details
    assert told["op"] == "probe"
    assert told["format"] == "mov,mp4,m4a,3gp,3g2,mj2"
    assert told["duration"] == pytest.approx(2, abs=0.1)
    assert told["streams"] == [
        {"type": "video", "codec": "h264", "width": 162, "height": 90},
        {"type": "audio", "codec": "aac", "channels": 1, "rate": 44_100},
    ]


def test_a_frame_becomes_a_thumbnail(filmed: Desk) -> None:
    result = filmed.process("film.mkv", "out", Frame(1.5), Thumbnail(40, 40), Convert("jpeg"), Checksum())
    made = filmed.image("out")
    assert (made.format, made.size) == ("JPEG", (40, 22))
    assert result.details[3]["digest"] == result.files[0].sha256


def test_there_is_no_frame_after_the_end(filmed: Desk) -> None:
    assert "no picture at 7 seconds" in filmed.refusal("film.mp4", "out", Frame(7))
    assert "no pictures" in filmed.refusal("sound.wav", "out", Frame())


@pytest.mark.parametrize(
    ("to", "codecs"),
    [
        ("mp4", ["h264", "aac"]),
        ("webm", ["vp9", "opus"]),
        ("mp3", ["mp3"]),
        ("ogg", ["opus"]),
        ("wav", ["pcm_s16le"]),
        ("flac", ["flac"]),
    ],
)
def test_a_film_is_transcoded(filmed: Desk, to: Any, codecs: list[str]) -> None:
    result = filmed.process("film.mp4", "out", Transcode(to, height=41 if len(codecs) == 2 else None))
    (told,) = result.details
    assert [stream["codec"] for stream in told["streams"]] == codecs
    assert told["duration"] == pytest.approx(2, abs=0.2)
    if len(codecs) == 2:
        assert told["streams"][0]["height"] == 40
    assert b"canary" not in (filmed.root / "out").read_bytes()
    again = filmed.process("out", None, Probe())
    assert [stream["codec"] for stream in again.details[0]["streams"]] == codecs


def test_what_has_no_sound_or_no_pictures_becomes_what_it_can(filmed: Desk) -> None:
    assert len(filmed.process("silent.mp4", "a", Transcode("webm")).details[0]["streams"]) == 1
    assert len(filmed.process("sound.wav", "b", Transcode("mp4")).details[0]["streams"]) == 1
    assert "nothing that can become mp3" in filmed.refusal("silent.mp4", "c", Transcode("mp3"))


def test_the_cover_of_a_song_is_no_video(filmed: Desk) -> None:
    filmed.put("cover.png", image_bytes("PNG", (61, 41)))
    song = filmed.root / "song.m4a"
    words = ["-i", "sound.wav", "-i", "cover.png", "-map", "0", "-map", "1", "-c:v", "png"]
    make = ["ffmpeg", "-v", "error", "-nostdin", *words, "-disposition:v", "attached_pic", str(song)]
    subprocess.run(make, check=True, timeout=GUARD, cwd=filmed.root)
    assert len(filmed.process("song.m4a", None, Probe()).details[0]["streams"]) == 2
    (told,) = filmed.process("song.m4a", "out", Transcode("mp4", height=40)).details
    assert [stream["codec"] for stream in told["streams"]] == ["aac"]
    assert "no pictures" in filmed.refusal("song.m4a", "frame", Frame())


def test_a_film_that_hides_how_long_it_is_is_not_encoded_to_its_end(filmed: Desk) -> None:
    words = ["-f", "lavfi", "-i", "sine=d=20", "-f", "matroska", "pipe:1"]
    made = subprocess.run(["ffmpeg", "-v", "error", "-nostdin", *words], check=True, timeout=GUARD, capture_output=True)
    filmed.put("endless.mkv", made.stdout)
    assert filmed.process("endless.mkv", None, Probe()).details[0]["duration"] == 0
    refused = filmed.refusal("endless.mkv", "out", Transcode("wav"), limits=Limits(seconds=3))
    assert refused == "it lasts 4 seconds, more than 3"


def test_a_program_that_has_ended_is_not_killed(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    killed: list[int] = []
    monkeypatch.setattr("os.killpg", lambda pid, _: killed.append(pid))
    said: list[str] = []
    with work_folder() as folder:
        run_tool(["echo", "hello"], Bench(folder, desk.storage, Limits(), job_context()), said.append)
    assert (said, killed) == (["hello"], [])


def test_progress_is_ffmpegs_own(filmed: Desk) -> None:
    processor = FileProcessor(filmed.storage, confined=False)
    context = job_context()
    processor.process(job("film.mp4", "out", Transcode("mp4")), context)
    shares = [done for done, _ in context.told if done is not None]
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("name", ["film.mp4", "film.mkv", "sound.wav"])
@pytest.mark.parametrize("share", [0.01, 0.7])
def test_a_truncated_file_fails(filmed: Desk, films: Path, name: str, share: float) -> None:
    data = (films / name).read_bytes()
    filmed.put("cut", data[: int(len(data) * share)])
    filmed.refusal("cut", "out", Transcode("mp3" if name == "sound.wav" else "mp4"))


PLAYLIST = b"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nfile://%s\n#EXT-X-ENDLIST\n"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"hello",
        PLAYLIST,
        b"ffconcat version 1.0\nfile 'film.mp4'\n",
        b"#EXTM3U\n#EXTINF:2,\nconcat:/etc/passwd\n",
        b'<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"></MPD>',
        b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nm=audio 9 RTP/AVP 0\n",
        image_bytes("PNG"),
        image_bytes("GIF"),
    ],
    ids=["empty", "text", "hls", "concat", "concat-protocol", "dash", "sdp", "png", "gif"],
)
def test_what_is_no_film_or_names_other_files_fails(filmed: Desk, data: bytes) -> None:
    filmed.put("in.mp4", data.replace(b"%s", str(filmed.root / "film.mp4").encode()))
    reason = filmed.refusal("in.mp4", "out", Transcode("mp4"))
    assert "no video or audio of a known format" in reason
    assert str(filmed.temporary) not in reason


def test_more_than_the_limits_fails(filmed: Desk) -> None:
    assert "more than 1" in filmed.refusal("film.mp4", "out", Transcode("mp4"), limits=Limits(seconds=1))
    assert "more than 1,000 pixels" in filmed.refusal("film.mp4", "out", Frame(), limits=Limits(pixels=1_000))
    refused = filmed.refusal("film.mp4", "out", Transcode("wav"), limits=Limits(output=100_000))
    assert "ffmpeg" in refused
    refused = filmed.refusal("film.mp4", "out", Transcode("mp4"), limits=Limits(tool_memory=30_000_000))
    assert "ff" in refused


def test_a_worker_without_ffmpeg_says_so(filmed: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ConfigurationError, match="ffprobe is not on the PATH"):
        filmed.process("film.mp4", None, Probe())


def test_a_job_that_is_cancelled_ends_ffmpeg(filmed: Desk) -> None:
    before = filmed.files()
    with pytest.raises(JobCancelled):
        FileProcessor(filmed.storage, confined=False).process(
            job("film.mp4", "out", Transcode("mp4")), job_context(cancelled=True)
        )
    filmed.assert_clean(before)


ENDLESS = """
import sys
from pathlib import Path
from redqueue.processors.file_processing.bench import Bench
from redqueue.processors.file_processing.confinement import work_folder
from redqueue.processors.file_processing.limits import Limits
from redqueue.processors.file_processing.tools import run_tool
from redqueue.processors.storage import Storage
from redqueue.testing import job_context
with work_folder() as folder:
    command = ["ffmpeg", "-v", "error", "-re", "-f", "lavfi", "-i", "testsrc=d=600", "-progress", "pipe:1"]
    bench = Bench(folder, Storage("memory://x"), Limits(), job_context())
    run_tool([*command, "-f", "null", "-"], bench, lambda line: print(line, flush=True))
"""


def children_of(pid: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            words = stat.read_text().rsplit(")", 1)[1].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(words[1]) == pid:
            found.append(int(stat.parent.name))
    return found


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="only Linux ends a process with its parent")
def test_a_killed_job_takes_ffmpeg_along_and_its_folder_is_removed_later(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs("ffmpeg")
    killed = subprocess.Popen([sys.executable, "-c", ENDLESS], stdout=subprocess.PIPE, text=True)
    assert killed.stdout is not None
    assert killed.stdout.readline()
    (ffmpeg,) = children_of(killed.pid)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    ends = time.monotonic() + GUARD
    while not is_gone(ffmpeg):
        assert time.monotonic() < ends, "ffmpeg outlived its job"
        time.sleep(0.01)
    (left,) = desk.temporary.iterdir()
    with work_folder():
        assert left.exists()  # it could be one that was just made
    monkeypatch.setattr(confinement, "YOUNG", -1.0)
    with work_folder() as first, work_folder() as second:
        assert not left.exists()
        assert first.exists() and second.exists()
    assert list(desk.temporary.iterdir()) == []


def test_a_folder_that_is_somebody_elses_link_is_left_alone(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confinement, "YOUNG", -1.0)
    desk.put("precious/file", b"x")
    (desk.temporary / "redqueue-files-link").symlink_to(desk.root / "precious")
    with work_folder():
        pass
    assert (desk.root / "precious" / "file").exists()
