"""Images, by Pillow: decoded once, worked on in memory, encoded once."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from redqueue.errors import Discard, JobCancelled, MissingExtra
from redqueue.processors.file_processing.gif import count_frames
from redqueue.processors.file_processing.limits import Limits, told
from redqueue.shapes import Convert, Crop, FileOperation, Orient, Resize, Strip, Thumbnail

try:
    from PIL import Image, UnidentifiedImageError
except ImportError as missing:
    raise MissingExtra("files", "images") from missing

FORMATS: Final = ("JPEG", "PNG", "WEBP", "GIF")
ANIMATED: Final = frozenset({"PNG", "WEBP", "GIF"})
QUALITY: Final = 85
LONGEST_EXIF: Final = 60_000
"""Bytes; JPEG has room for 65,533."""

_PROFILES: Final[Mapping[str, bytes]] = {"L": b"GRAY", "LA": b"GRAY", "CMYK": b"CMYK"}
"""The colours that a profile must be of, by mode (ICC.1:2022, 7.2.6)."""
_RGB_PROFILE: Final = b"RGB "
_ONLY_RGB: Final = frozenset({"WEBP", "GIF"})

_ORIENTATION: Final = 0x0112  # EXIF 2.32, 4.6.5
_TURNS: Final[Mapping[int, Image.Transpose]] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True, slots=True)
class Picture:
    """A decoded image: one frame, or several that follow each other.

    Attributes:
        durations: of each frame, in milliseconds.
        loop: how often it is shown; 0: for ever; None: once.
    """

    frames: list[Image.Image]
    format: str
    durations: list[int] = field(default_factory=list)
    loop: int | None = None
    exif: Image.Exif | None = None
    icc: bytes | None = None
    quality: int | None = None

    @property
    def size(self) -> tuple[int, int]:
        return self.frames[0].size

    def each(self, change: Callable[[Image.Image], Image.Image]) -> Picture:
        """With every frame changed."""
        return replace(self, frames=[change(frame) for frame in self.frames])

    def told(self) -> dict[str, Any]:
        """For the result."""
        width, height = self.size
        frames = len(self.frames) if self.format in ANIMATED else 1
        return {"width": width, "height": height, "format": self.format.lower(), "frames": frames}


def read_picture(path: Path, limits: Limits) -> Picture:
    """Decode an image of one of the `FORMATS`, told by its content.

    Raises:
        Discard: it is none, is too large, or is damaged.
    """
    with _bombs_are_errors(limits.pixels):
        try:
            with Image.open(path, formats=FORMATS) as image:
                picture = _decoded(image, _frames_of(image, path, limits))
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
            raise Discard(f"the image has more than {limits.pixels:,} pixels") from error
        except UnidentifiedImageError:
            raise Discard("the file is no image of the formats JPEG, PNG, WebP and GIF") from None
        except (Discard, MemoryError):
            raise
        except Exception as error:  # decoders raise what they like
            raise Discard(f"the image can't be decoded: {told(error)}") from error
    return picture


def write_picture(picture: Picture, path: Path) -> None:
    """Encode it. A format without animation gets the first frame.

    Raises:
        Discard: the format can't hold it.
        OSError: of the machine, such as no space.
    """
    try:
        _encode(picture, path)
    except (MemoryError, JobCancelled):
        raise
    except Exception as error:  # encoders raise what they like
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise Discard(f"the image can't be encoded: {told(error)}") from error


def _encode(picture: Picture, path: Path) -> None:
    if picture.format == "JPEG":
        picture = replace(picture, frames=[_opaque(picture.frames[0])])
    elif picture.frames[0].mode == "CMYK":
        picture = picture.each(lambda frame: frame.convert("RGB"))
    options: dict[str, Any] = {"format": picture.format}
    if picture.exif is not None and picture.format != "GIF":
        options["exif"] = _exif_bytes(picture.exif)
    if picture.icc is not None and _fits(picture.icc, picture):
        options["icc_profile"] = picture.icc
    if picture.format in ("JPEG", "WEBP"):
        options["quality"] = picture.quality or QUALITY
    first, *others = picture.frames
    if others:
        options |= {"save_all": True, "append_images": others, "duration": picture.durations}
        options |= _shown_again(picture)
    first.save(path, **options)


def _fits(icc: bytes, picture: Picture) -> bool:
    mode = "RGB" if picture.format in _ONLY_RGB else picture.frames[0].mode
    return icc[16:20] == _PROFILES.get(mode, _RGB_PROFILE)


def _shown_again(picture: Picture) -> dict[str, int]:
    """How an animation ends a frame, and itself."""
    if picture.format != "GIF":
        return {"loop": 1 if picture.loop is None else picture.loop}
    options = {} if picture.loop is None else {"loop": picture.loop}
    if any(frame.has_transparency_data for frame in picture.frames):
        options["disposal"] = 2  # else the frames before shine through
    return options


def change_picture(picture: Picture, operation: FileOperation, limits: Limits) -> Picture:
    """Carry out one operation.

    Raises:
        Discard: it doesn't fit the image.
    """
    match operation:
        case Resize():
            return _resized(picture, _size(operation, picture.size), limits)
        case Thumbnail(width, height):
            scale = min(width / picture.size[0], height / picture.size[1], 1)
            return _resized(picture, _scaled(picture.size, scale), limits)
        case Crop(left, top, width, height):
            box = (left, top, left + width, top + height)
            if box[2] > picture.size[0] or box[3] > picture.size[1]:
                raise Discard(f"crop to {box}: the image has {picture.size[0]} x {picture.size[1]} pixels")
            return picture.each(lambda frame: frame.crop(box))
        case Convert(to, quality):
            if to == "gif":  # it has no EXIF that could say how
                picture = _oriented(picture)
            return replace(picture, format=to.upper(), quality=quality)
        case Strip():
            return replace(picture, exif=None)
        case Orient():
            return _oriented(picture)
        case _:
            raise TypeError(f"{type(operation).__name__} is no operation on images")


@contextmanager
def _bombs_are_errors(pixels: int) -> Iterator[None]:
    before = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = pixels
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of damaged EXIF and the like
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


def _frames_of(image: Image.Image, path: Path, limits: Limits) -> int:
    """How many there are, before one is decoded."""
    frames = 1
    if image.format == "GIF":
        frames = max(1, count_frames(path, limits.frames))
    elif image.format in ANIMATED:
        frames = getattr(image, "n_frames", 1)
    # More than one picture in a JPEG is an MPO, of which the first is what people see.
    if frames > limits.frames:
        raise Discard(f"the image has more than {limits.frames:,} frames")
    if frames * image.width * image.height > limits.pixels:
        raise Discard(f"the image has more than {limits.pixels:,} pixels in its frames")
    return frames


def _decoded(image: Image.Image, count: int) -> Picture:
    exif, icc = image.getexif(), image.info.get("icc_profile")
    frames, durations = list[Image.Image](), list[int]()
    kind, loop = "JPEG" if image.format == "MPO" else str(image.format), image.info.get("loop")
    if loop == 1 and kind != "GIF":  # there it says how often, in GIF how often again
        loop = None
    hidden = count > 1 and image.info.get("default_image")  # of an APNG: for those who show no animations
    for number in range(1 if hidden else 0, count):
        if number:
            image.seek(number)
        frames.append(_worked_on(image))
        durations.append(int(image.info.get("duration", 0)))
    return Picture(frames, kind, durations, loop, exif if len(exif) else None, icc)


def _worked_on(image: Image.Image) -> Image.Image:
    """A copy, in colours that can be scaled, and without metadata of its own."""
    if image.mode == "I" or image.mode.startswith("I;16"):
        copy = _of_8_bits(image)
    elif image.mode == "1":
        copy = image.convert("L")
    elif image.mode == "P" or "transparency" in image.info:
        copy = image.convert("RGBA" if image.has_transparency_data else "RGB")
    else:
        copy = image.copy()
    copy.info.clear()
    return copy


def _of_8_bits(image: Image.Image) -> Image.Image:
    """Grey of 16 bits; Pillow's own conversion takes all above 255 for white."""
    clear, deep = image.info.get("transparency"), image.convert("I")
    grey = deep.point([value >> 8 for value in range(2**16)], "L")
    if clear is None:
        return grey
    alpha = deep.point([0 if value == clear else 255 for value in range(2**16)], "L")
    return Image.merge("LA", (grey, alpha))


def _size(wanted: Resize, size: tuple[int, int]) -> tuple[int, int]:
    match wanted.width, wanted.height:
        case int(width), int(height):
            return width, height
        case int(width), None:
            return width, _scaled(size, width / size[0])[1]
        case None, int(height):
            return _scaled(size, height / size[1])[0], height
        case _:
            raise Discard("resize: give a width, a height or both")


def _scaled(size: tuple[int, int], scale: float) -> tuple[int, int]:
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _resized(picture: Picture, size: tuple[int, int], limits: Limits) -> Picture:
    if len(picture.frames) * size[0] * size[1] > limits.pixels:
        raise Discard(f"resized to {size[0]} x {size[1]}, the image would have more than {limits.pixels:,} pixels")
    if size == picture.size:
        return picture
    return picture.each(lambda frame: frame.resize(size, Image.Resampling.LANCZOS))


def _oriented(picture: Picture) -> Picture:
    turn = None if picture.exif is None else _TURNS.get(picture.exif.get(_ORIENTATION, 1))
    if picture.exif is None or turn is None:
        return picture
    del picture.exif[_ORIENTATION]
    return picture.each(lambda frame: frame.transpose(turn))


def _exif_bytes(exif: Image.Exif) -> bytes:
    """As it is written; when it can't be, as cameras write what they like, only how the picture must be turned."""
    try:
        data = exif.tobytes()
    except Exception:
        data = b""
    if data and len(data) <= LONGEST_EXIF:
        return data
    if exif.get(_ORIENTATION) not in _TURNS:
        return b""
    turned = Image.Exif()
    turned[_ORIENTATION] = int(exif[_ORIENTATION])
    return turned.tobytes()


def _opaque(image: Image.Image) -> Image.Image:
    """As JPEG has it."""
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGB", image.size, "white")
        white.paste(image, mask=image.getchannel("A"))
        return white
    return image if image.mode in ("L", "RGB", "CMYK") else image.convert("RGB")
