"""Images: what comes out, and what is refused."""

from __future__ import annotations

import errno
import io
from typing import Any, Literal

import pytest
from PIL import Image, ImageCms, ImageDraw

from redqueue.processors.file_processing import Limits
from redqueue.shapes import Checksum, Convert, Crop, FileOperation, Orient, Resize, Strip, Thumbnail

from .conftest import Desk, image_bytes

KINDS = ("JPEG", "PNG", "WEBP", "GIF")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("operation", "size"),
    [
        (Resize(width=30), (30, 20)),
        (Resize(height=80), (120, 80)),
        (Resize(width=7, height=9), (7, 9)),
        (Thumbnail(30, 30), (30, 20)),
        (Thumbnail(600, 600), (60, 40)),
        (Crop(50, 10, 10, 30), (10, 30)),
        (Strip(), (60, 40)),
        (Orient(), (60, 40)),
    ],
    ids=str,
)
def test_an_operation_changes_the_size_and_keeps_the_format(
    desk: Desk, kind: str, operation: FileOperation, size: tuple[int, int]
) -> None:
    desk.put("in", image_bytes(kind))
    result = desk.process("in", "out", operation)
    made = desk.image("out")
    assert (made.format, made.size) == (kind, size)
    assert result.details[0]["width"] == size[0]
    assert result.details[0]["format"] == kind.lower()


MODES = {
    "JPEG": ("RGB", "L", "CMYK"),
    "PNG": ("RGB", "RGBA", "L", "LA", "P", "1", "I;16"),
    "WEBP": ("RGB", "RGBA"),
    "GIF": ("RGB", "RGBA", "L", "P", "1"),
}


@pytest.mark.parametrize("before", KINDS)
@pytest.mark.parametrize("after", ["jpeg", "png", "webp", "gif"])
def test_every_format_becomes_every_other(
    desk: Desk, before: str, after: Literal["jpeg", "png", "webp", "gif"]
) -> None:
    for mode in MODES[before]:
        desk.put("in", image_bytes(before, mode=mode))
        desk.process("in", "out", Resize(width=20), Convert(after))
        made = desk.image("out")
        assert (str(made.format).lower(), made.size) == (after, (20, 13)), mode


def test_transparency_becomes_white_in_jpeg_and_stays_in_others(desk: Desk) -> None:
    out = io.BytesIO()
    Image.new("RGBA", (8, 8), (0, 0, 0, 0)).save(out, "PNG")
    desk.put("in", out.getvalue())
    desk.process("in", "out.jpg", Convert("jpeg"))
    assert desk.image("out.jpg").getpixel((4, 4)) == (255, 255, 255)
    desk.process("in", "out.webp", Convert("webp"), Resize(width=4))
    assert desk.image("out.webp").getchannel("A").getextrema() == (0, 0)


def test_quality_counts(desk: Desk) -> None:
    desk.put("in", image_bytes("PNG", (200, 200)))
    low = desk.process("in", "low", Convert("jpeg", quality=10))
    high = desk.process("in", "high", Convert("jpeg", quality=95))
    assert low.size * 2 < high.size


def photo(orientation: int = 6) -> bytes:
    """A photo that must be turned, with the place where it was taken."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010F] = "Camera"
    exif.get_ifd(0x8825)[1] = "N"
    out = io.BytesIO()
    image = Image.new("RGB", (60, 40), "blue")
    image.paste("red", (0, 0, 30, 40))
    image.save(out, "JPEG", exif=exif, comment=b"secret comment", quality=95)
    return out.getvalue()


def test_a_photo_is_turned_as_its_exif_says(desk: Desk) -> None:
    desk.put("in", photo(6))
    desk.process("in", "out", Orient())
    made = desk.image("out")
    assert made.size == (40, 60)
    red, _, blue = made.getpixel((20, 5))  # type: ignore[misc]
    assert red > 200 > 50 > blue  # what was left is up
    assert made.getexif()[0x010F] == "Camera"
    assert 0x0112 not in made.getexif()


def test_stripped_there_is_nothing_but_the_picture(desk: Desk) -> None:
    desk.put("in", photo())
    desk.process("in", "kept", Resize(width=30))
    assert desk.image("kept").getexif()[0x0112] == 6
    desk.process("in", "out", Orient(), Strip())
    made = desk.image("out")
    assert len(made.getexif()) == 0
    data = (desk.root / "out").read_bytes()
    assert b"Camera" not in data
    assert b"secret" not in data


def animation(kind: str, frames: int = 3, cut: int = 0) -> bytes:
    shown = [Image.new("RGB", (20, 10), (n * 40, 0, 0)) for n in range(frames)]
    out = io.BytesIO()
    shown[0].save(out, kind, save_all=True, append_images=shown[1:], duration=[100, 200, 300][:frames], loop=0)
    return out.getvalue()[: -cut or None]


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_an_animation_stays_one(desk: Desk, kind: str) -> None:
    desk.put("in", animation(kind))
    result = desk.process("in", "out", Resize(width=10))
    assert result.details[0]["frames"] == 3
    made = Image.open(desk.root / "out")
    with made:
        assert (made.size, getattr(made, "n_frames", 1), made.info["loop"]) == ((10, 5), 3, 0)
        made.seek(2)
        made.load()
        assert made.info["duration"] == 300
    desk.process("in", "still", Convert("jpeg"))
    assert desk.image("still").size == (20, 10)


def test_the_checksum_is_that_of_what_is_written(desk: Desk) -> None:
    desk.put("in", image_bytes("PNG"))
    result = desk.process("in", "folder/out", Thumbnail(10, 10), Checksum())
    (file,) = result.files
    assert file.sha256 == result.details[-1]["digest"]
    assert (file.key, file.size) == ("folder/out", (desk.root / "folder/out").stat().st_size)
    assert file.link == "https://files.example.com/folder/out"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_a_truncated_image_fails(desk: Desk, kind: str, share: float) -> None:
    data = image_bytes(kind, (300, 200))
    desk.put("in", data[: int(len(data) * share)])
    assert "the image can't be decoded" in desk.refusal("in", "out", Resize(width=5))


def test_an_animation_that_is_cut_off_fails(desk: Desk) -> None:
    for cut in (1, 20):
        desk.put("in", animation("GIF", cut=cut))
        assert "can't be decoded" in desk.refusal("in", "out", Strip())


@pytest.mark.parametrize(
    "data",
    [b"", b"hello", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"%!PS-Adobe-3.0 EPSF-3.0\n", b"PK\3\4", b"BM" * 40],
    ids=["empty", "text", "svg", "postscript", "zip", "bitmap"],
)
def test_what_is_no_image_of_the_formats_fails_whatever_its_name(desk: Desk, data: bytes) -> None:
    desk.put("cat.png", data)
    assert "no image of the formats" in desk.refusal("cat.png", "out.png", Strip())


def test_an_image_is_told_by_its_content(desk: Desk) -> None:
    desk.put("cat.txt", image_bytes("WEBP"))
    assert desk.process("cat.txt", "out", Strip()).details[0]["format"] == "webp"


def test_an_operation_that_does_not_fit_the_image_fails(desk: Desk) -> None:
    desk.put("in", image_bytes("PNG"))
    assert "60 x 40" in desk.refusal("in", "out", Crop(50, 0, 11, 1))
    assert "give a width" in desk.refusal("in", "out", Resize())
    assert "more than 1,000" in desk.refusal("in", "out", Resize(width=100), limits=Limits(pixels=1_000))
    assert "64,000,000" in desk.refusal("in", "out", Resize(width=16_000, height=16_000))
    assert "larger than 10 bytes" in desk.refusal("in", "out", Strip(), limits=Limits(source=10))
    assert "more than 10" in desk.refusal("in", "out", Strip(), limits=Limits(output=10))


def test_what_is_missing_is_named(desk: Desk) -> None:
    assert "no file 'nothing/here'" in desk.refusal("nothing/here", "out", Strip())


@pytest.mark.parametrize("source", ["GIF", "PNG", "WEBP"])
def test_no_frame_of_a_transparent_animation_shines_through_the_next_one(desk: Desk, source: str) -> None:
    shown = [Image.new("RGBA", (30, 10)) for _ in range(3)]
    for number, frame in enumerate(shown):
        ImageDraw.Draw(frame).ellipse((10 * number, 0, 10 * number + 9, 9), "red")
    out = io.BytesIO()
    shown[0].save(out, source, save_all=True, append_images=shown[1:], duration=50, loop=0, disposal=2, lossless=True)
    desk.put("in", out.getvalue())
    desk.process("in", "out", Crop(0, 0, 30, 9), Convert("gif"))
    with Image.open(desk.root / "out") as made:
        for number in range(3):
            made.seek(number)
            alpha = made.convert("RGBA").getchannel("A")
            assert [alpha.getpixel((10 * n + 5, 4)) for n in range(3)] == [255 * (n == number) for n in range(3)]


def test_grey_of_16_bits_keeps_its_shades(desk: Desk) -> None:
    grey = Image.new("I;16", (4, 1))
    for x, value in enumerate((0, 300, 32_768, 65_535)):
        grey.putpixel((x, 0), value)
    out = io.BytesIO()
    grey.save(out, "PNG")
    desk.put("in", out.getvalue())
    desk.process("in", "out", Convert("png"))
    made = desk.image("out")
    assert (made.mode, [made.getpixel((x, 0)) for x in range(4)]) == ("L", [0, 1, 128, 255])


def test_the_transparent_shade_of_16_bits_is_found_among_all_of_them(desk: Desk) -> None:
    grey = Image.new("I;16", (2, 1), 32_768)
    grey.putpixel((1, 0), 32_769)
    out = io.BytesIO()
    grey.save(out, "PNG", transparency=32_769)
    desk.put("in", out.getvalue())
    desk.process("in", "out", Convert("webp"))
    alpha = desk.image("out").getchannel("A")
    assert [alpha.getpixel((x, 0)) for x in range(2)] == [255, 0]


def test_what_a_format_can_not_hold_fails_at_once(desk: Desk) -> None:
    desk.put("in", image_bytes("PNG", (8, 2)))
    assert "can't be encoded" in desk.refusal("in", "out", Resize(width=16_384, height=1), Convert("webp"))


@pytest.mark.parametrize("error", [MemoryError(), OSError(errno.ENOSPC, "no space"), OSError(errno.EDQUOT, "quota")])
def test_what_the_machine_lacks_is_not_the_images_fault(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def save(*given: Any, **options: Any) -> None:
        raise error

    desk.put("in", image_bytes("PNG"))
    monkeypatch.setattr(Image.Image, "save", save)
    with pytest.raises(type(error)):
        desk.process("in", "out", Strip())


@pytest.mark.parametrize("to", ["jpeg", "png", "webp"])
def test_exif_that_is_too_long_still_says_how_to_turn_the_picture(desk: Desk, to: Any) -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "x" * 61_000
    out = io.BytesIO()
    Image.new("RGB", (60, 40)).save(out, "PNG", exif=exif)
    desk.put("in", out.getvalue())
    desk.process("in", "out", Convert(to))
    assert dict(desk.image("out").getexif()) == {0x0112: 6}


def test_a_photo_that_becomes_a_gif_is_turned(desk: Desk) -> None:
    desk.put("in", photo(6))
    result = desk.process("in", "out", Convert("gif"))
    made = desk.image("out")
    assert (made.size, result.details[0]["width"]) == ((40, 60), 40)
    red, _, blue = made.convert("RGB").getpixel((20, 5))  # type: ignore[misc]
    assert red > 200 > 50 > blue


def shown(kind: str, loop: int | None) -> bytes:
    frames = [Image.new("RGB", (8, 8), (n * 100, 0, 0)) for n in range(2)]
    out = io.BytesIO()
    options = {} if loop is None else {"loop": loop}
    frames[0].save(out, kind, save_all=True, append_images=frames[1:], duration=50, **options)
    return out.getvalue()


@pytest.mark.parametrize(("kind", "once"), [("GIF", None), ("PNG", 1), ("WEBP", 1)])
@pytest.mark.parametrize(("to", "stays"), [("gif", None), ("png", 1), ("webp", 1)])
def test_an_animation_that_is_shown_once_is_not_shown_for_ever(
    desk: Desk, kind: str, once: int | None, to: Any, stays: int | None
) -> None:
    desk.put("in", shown(kind, once))
    desk.process("in", "out", Convert(to))
    assert desk.image("out").info.get("loop") == stays


def test_the_picture_for_those_who_show_no_animations_is_no_frame(desk: Desk) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    out = io.BytesIO()
    Image.new("RGB", (8, 8), "green").save(
        out, "PNG", save_all=True, append_images=frames, default_image=True, duration=50
    )
    desk.put("in", out.getvalue())
    result = desk.process("in", "out", Strip())
    assert result.details[0]["frames"] == 2
    made = desk.image("out")
    assert (made.info.get("default_image", False), made.getpixel((4, 4))) == (False, (255, 0, 0))


def test_a_format_without_animation_has_one_frame(desk: Desk) -> None:
    desk.put("in", animation("GIF"))
    result = desk.process("in", "out", Convert("jpeg"), Strip())
    assert [told["frames"] for told in result.details] == [1, 1]


def profile(space: bytes) -> bytes:
    """A profile that says to be of those colours."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    data[16:20] = space
    return bytes(data)


@pytest.mark.parametrize(
    ("mode", "space", "to", "stays"),
    [
        ("L", b"GRAY", "png", True),
        ("L", b"GRAY", "jpeg", True),
        ("L", b"GRAY", "webp", False),
        ("LA", b"GRAY", "jpeg", False),
        ("P", b"GRAY", "png", False),
        ("RGB", b"RGB ", "webp", True),
        ("L", b"RGB ", "png", False),
    ],
)
def test_a_profile_stays_where_its_colours_do(desk: Desk, mode: str, space: bytes, to: Any, stays: bool) -> None:
    desk.put("in", image_bytes("PNG", mode=mode, icc_profile=profile(space)))
    desk.process("in", "out", Resize(width=20), Convert(to))
    assert ("icc_profile" in desk.image("out").info) is stays
