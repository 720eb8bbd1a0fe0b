"""Every format, bit depth and orientation against an expectation computed another way; and refusals."""

from __future__ import annotations

import hashlib
import struct
import subprocess
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFile

from defectflow.errors import ImageError
from defectflow.image import decode
from defectflow.image.decode import read_image, read_image_file, read_raw, size_px
from defectflow.image.depth import brightest, full_scale_for

HEIGHT_PX, WIDTH_PX = 13, 22
COLOUR = np.random.default_rng(0).integers(0, 256, (HEIGHT_PX, WIDTH_PX, 3), dtype=np.uint8)
GREY = COLOUR[:, :, 0].copy()
COLOUR_16 = np.random.default_rng(1).integers(0, 65536, (HEIGHT_PX, WIDTH_PX, 3), dtype=np.uint16)
GREY_16 = COLOUR_16[:, :, 0].copy()

# How a stored picture must be turned for each EXIF orientation, in the words of the EXIF standard.
TURNS = {
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: lambda a: np.fliplr(np.rot90(a, -1)),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.fliplr(np.rot90(a, 1)),
    8: lambda a: np.rot90(a, 1),
}


def encode(pixels: np.ndarray | Image.Image, file_format: str, **options: Any) -> bytes:
    stream = BytesIO()
    picture = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    picture.save(stream, file_format, **options)
    return stream.getvalue()


def png(
    pixels: np.ndarray,
    colour_type: int,
    bits: int = 16,
    extra_chunk: tuple[bytes, bytes] | None = None,
    kept: float = 1.0,
) -> bytes:
    """A PNG file by the book, for the variants that Pillow and OpenCV cannot write.

    `kept` is the share of the pixel data that is there, inside a file that is whole otherwise.
    """

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    big_endian = pixels.astype(f">u{bits // 8}")
    rows = b"".join(b"\0" + row.tobytes() for row in big_endian)
    header = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], bits, colour_type, 0, 0, 0)
    data = zlib.compress(rows)
    chunks = [chunk(b"IHDR", header), chunk(b"IDAT", data[: round(len(data) * kept)]), chunk(b"IEND", b"")]
    if extra_chunk:
        chunks.insert(1, chunk(*extra_chunk))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def tiff(
    pixels: np.ndarray,
    *,
    order: str = "<",
    sample_format: int = 1,
    photometric: int | None = None,
    orientation: int = 1,
    bits: int | None = None,
    size_px: tuple[int, int] | None = None,
) -> bytes:
    """An uncompressed TIFF file by the book."""
    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    data = pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()
    bits = bits or pixels.dtype.itemsize * 8
    height_px, width_px = size_px or pixels.shape[:2]
    extra_at = 8 + len(data)
    extra = struct.pack(f"{order}{channels}H", *[bits] * channels) + struct.pack(
        f"{order}{channels}H", *[sample_format] * channels
    )
    if photometric is None:
        photometric = 2 if channels >= 3 else 1

    def short(tag: int, value: int) -> bytes:
        return struct.pack(order + "HHIHH", tag, 3, 1, value, 0)

    def long(tag: int, value: int) -> bytes:
        return struct.pack(order + "HHII", tag, 4, 1, value)

    def per_channel(tag: int, value: int, at: int) -> bytes:
        return short(tag, value) if channels == 1 else struct.pack(order + "HHII", tag, 3, channels, at)

    entries = [
        long(256, width_px), long(257, height_px), per_channel(258, bits, extra_at), short(259, 1),
        short(262, photometric), long(273, 8), short(274, orientation), short(277, channels),
        long(278, height_px), long(279, len(data)), per_channel(339, sample_format, extra_at + 2 * channels),
    ]  # fmt: skip
    directory = struct.pack(order + "H", len(entries)) + b"".join(entries) + b"\0\0\0\0"
    magic = b"II*\0" if order == "<" else b"MM\0*"
    return magic + struct.pack(order + "I", extra_at + len(extra)) + data + extra + directory


def by_formula(values: np.ndarray, full_scale: int) -> np.ndarray:
    """value / full_scale * 255, rounded and clipped, in floating point; grey in three channels."""
    scaled = np.clip(np.round(values.astype(np.float64) / full_scale * 255), 0, 255).astype(np.uint8)
    return scaled if scaled.ndim == 3 else np.dstack([scaled] * 3)


def grey3(grey: np.ndarray) -> np.ndarray:
    return np.dstack([grey] * 3)


def assert_pixels(pixels: np.ndarray, expected: np.ndarray) -> None:
    assert pixels.dtype == np.uint8
    assert pixels.flags.c_contiguous
    assert pixels.flags.writeable
    np.testing.assert_array_equal(pixels, expected)


# --- 8 bits ---

LOSSLESS = [
    ("PNG", {}),
    ("BMP", {}),
    ("TIFF", {}),
    ("TIFF", {"compression": "tiff_lzw"}),
    ("WEBP", {"lossless": True}),
]


@pytest.mark.parametrize(("file_format", "options"), LOSSLESS)
@pytest.mark.parametrize("full_scale", [None, 4095])
def test_colour_is_read_exactly_and_full_scale_never_touches_8_bits(
    file_format: str, options: dict[str, Any], full_scale: int | None
) -> None:
    assert_pixels(read_image(encode(COLOUR, file_format, **options), full_scale=full_scale), COLOUR)


@pytest.mark.parametrize("file_format", ["PNG", "BMP", "TIFF"])
def test_grey_becomes_three_equal_channels(file_format: str) -> None:
    assert_pixels(read_image(encode(GREY, file_format)), grey3(GREY))


@pytest.mark.parametrize("file_format", ["PNG", "BMP", "TIFF"])
def test_one_bit_is_black_and_white(file_format: str) -> None:
    bits = GREY > 127
    assert_pixels(read_image(encode(Image.fromarray(bits), file_format)), grey3(bits * np.uint8(255)))


@pytest.mark.parametrize("file_format", ["PNG", "BMP", "TIFF"])
def test_palette_is_looked_up(file_format: str) -> None:
    palette = COLOUR.reshape(-1, 3)[:16]
    indices = (GREY % 16).astype(np.uint8)
    picture = Image.fromarray(indices).convert("L")
    picture.putpalette(palette.tobytes())
    assert_pixels(read_image(encode(picture, file_format)), palette[indices])


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_jpeg_is_what_pillow_and_opencv_decode(mode: str) -> None:
    content = encode(Image.fromarray(COLOUR).convert(mode), "JPEG", quality=90)
    pixels = read_image(content)
    assert_pixels(pixels, np.asarray(Image.open(BytesIO(content)).convert("RGB")))
    opencv = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)[:, :, ::-1]
    assert np.abs(pixels.astype(int) - opencv).max() <= 3  # other builds of the decoder may round differently


def test_cmyk_jpeg_has_the_printed_colours() -> None:
    flat = np.zeros((16, 16, 4), np.uint8)
    flat[:, :, 1] = flat[:, :, 2] = 255  # magenta and yellow ink: red
    pixels = read_image(encode(Image.frombytes("CMYK", (16, 16), flat.tobytes()), "JPEG", quality=100))
    assert np.abs(pixels.astype(int) - [255, 0, 0]).max() <= 3


@pytest.mark.parametrize(
    ("file_format", "options"), [("PNG", {}), ("TIFF", {}), ("WEBP", {"lossless": True, "exact": True})]
)
def test_transparent_pixels_are_put_on_black(file_format: str, options: dict[str, Any]) -> None:
    alpha = np.full_like(GREY, 255)
    alpha[:4], alpha[4:8] = 0, 100
    pixels = read_image(encode(np.dstack([COLOUR, alpha]), file_format, **options))
    assert (pixels[:4] == 0).all()
    assert np.abs(pixels[4:8] - COLOUR[4:8] * (100 / 255)).max() <= 1
    np.testing.assert_array_equal(pixels[8:], COLOUR[8:])


def test_transparent_grey_and_palette_are_put_on_black() -> None:
    alpha = np.where(GREY > 99, 255, 0).astype(np.uint8)
    expected = np.where(GREY > 99, GREY, 0)
    picture = Image.merge("LA", [Image.fromarray(GREY), Image.fromarray(alpha)])
    assert_pixels(read_image(encode(picture, "PNG")), grey3(expected))

    indices = GREY // 64
    picture = Image.fromarray(indices)
    picture.putpalette(np.repeat(np.array([40, 80, 120, 160], np.uint8), 3).tobytes())
    content = encode(picture, "PNG", transparency=2)
    assert_pixels(read_image(content), grey3(np.array([40, 80, 0, 160], np.uint8)[indices]))


def test_first_page_of_several_is_read() -> None:
    pages = [Image.fromarray(COLOUR), Image.fromarray(COLOUR[::-1].copy())]
    for file_format, options in (("TIFF", {}), ("WEBP", {"lossless": True}), ("PNG", {})):
        content = encode(pages[0], file_format, save_all=True, append_images=pages[1:], **options)
        assert_pixels(read_image(content), COLOUR)


# --- 16 bits ---

SIXTEEN_BIT = {
    "grey.png": (png(GREY_16, 0), GREY_16),
    "colour.png": (png(COLOUR_16, 2), COLOUR_16),
    "grey.tif": (tiff(GREY_16), GREY_16),
    "grey big-endian.tif": (tiff(GREY_16, order=">"), GREY_16),
    "colour.tif": (tiff(COLOUR_16), COLOUR_16),
    "colour big-endian.tif": (tiff(COLOUR_16, order=">"), COLOUR_16),
    "cv2 grey.png": (cv2.imencode(".png", GREY_16)[1].tobytes(), GREY_16),
    "cv2 grey.tif": (cv2.imencode(".tif", GREY_16)[1].tobytes(), GREY_16),
    "cv2 colour.png": (cv2.imencode(".png", COLOUR_16[:, :, ::-1])[1].tobytes(), COLOUR_16),
    "cv2 colour.tif": (cv2.imencode(".tif", COLOUR_16[:, :, ::-1])[1].tobytes(), COLOUR_16),
}


@pytest.mark.parametrize("name", SIXTEEN_BIT)
@pytest.mark.parametrize("full_scale", [255, 1023, 4095, 65535])
def test_16_bits_follow_the_formula(name: str, full_scale: int) -> None:
    content, values = SIXTEEN_BIT[name]
    assert_pixels(read_image(content, full_scale=full_scale), by_formula(values, full_scale))


@pytest.mark.parametrize("name", SIXTEEN_BIT)
def test_raw_values_are_what_was_stored(name: str, tmp_path: Path) -> None:
    content, values = SIXTEEN_BIT[name]
    raw = decode.read_raw(content)
    assert raw.dtype == np.uint16
    np.testing.assert_array_equal(raw, values if values.ndim == 3 else np.dstack([values] * 3))
    path = tmp_path / name
    path.write_bytes(content)
    assert brightest(read_raw(path)) == values.max()


def test_8_bit_pictures_have_no_brightest_value(tmp_path: Path) -> None:
    path = tmp_path / "grey.png"
    path.write_bytes(encode(GREY, "PNG"))
    assert brightest(read_raw(path)) is None


@given(value=st.integers(0, 65535), full_scale=st.integers(255, 65535))
def test_scaling_rounds_exactly(value: int, full_scale: int) -> None:
    exact = Fraction(value * 255, full_scale)
    expected = min(255, int(exact + Fraction(1, 2)))
    assert decode.to_uint8(np.array([value], np.uint16), full_scale=full_scale, name="x") == expected


def test_a_dark_picture_stays_dark() -> None:
    """The picture's own range is never used: a half as bright picture must come out half as bright."""
    bright = read_image(png(np.full((4, 4), 4000, np.uint16), 0), full_scale=4095)
    dark = read_image(png(np.full((4, 4), 400, np.uint16), 0), full_scale=4095)
    assert (bright[0, 0, 0], dark[0, 0, 0]) == (249, 25)


@pytest.mark.parametrize("colour_type", [4, 6])
def test_16_bit_transparency_is_put_on_black(colour_type: int) -> None:
    alpha = np.where(GREY_16 > 30000, 65535, 0).astype(np.uint16)
    colour = GREY_16[:, :, None] if colour_type == 4 else COLOUR_16
    pixels = read_image(png(np.dstack([colour, alpha]), colour_type), full_scale=65535)
    assert_pixels(
        pixels,
        by_formula(
            np.where(alpha[:, :, None] > 0, COLOUR_16 if colour_type == 6 else np.dstack([GREY_16] * 3), 0),
            65535,
        ),
    )


def test_16_bits_without_full_scale_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "part.png"
    path.write_bytes(png(GREY_16, 0))
    with pytest.raises(ImageError) as error:
        read_image(path)
    assert str(error.value) == (
        f"{path}: is a 16-bit picture but the model was fitted on 8-bit pictures, so no value is known to be white; "
        "let the camera save 8 bits, or fit a model on 16-bit pictures"
    )


@pytest.mark.parametrize(
    ("largest", "full_scale"),
    [
        (0, 255),
        (255, 255),
        (256, 1023),
        (1023, 1023),
        (1024, 4095),
        (4095, 4095),
        (4096, 16383),
        (65535, 65535),
    ],
)
def test_full_scale_is_the_smallest_bit_depth_that_holds_all(largest: int, full_scale: int) -> None:
    assert full_scale_for([0, largest, largest // 2]) == full_scale


# --- orientation ---


@pytest.mark.parametrize("orientation", TURNS)
@pytest.mark.parametrize(
    ("file_format", "options"),
    [*(entry for entry in LOSSLESS if entry[0] != "BMP"), ("JPEG", {"quality": 90})],  # BMP has no EXIF
)
def test_orientation_is_applied(file_format: str, options: dict[str, Any], orientation: int) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    upright = read_image(encode(COLOUR, file_format, **options))
    pixels = read_image(encode(COLOUR, file_format, exif=exif, **options))
    assert_pixels(pixels, TURNS[orientation](upright))


@pytest.mark.parametrize("orientation", TURNS)
@pytest.mark.parametrize("values", [GREY_16, COLOUR_16], ids=["grey", "colour"])
@pytest.mark.parametrize("file_format", ["PNG", "TIFF"])
def test_orientation_is_applied_to_16_bits(file_format: str, values: np.ndarray, orientation: int) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    if file_format == "PNG":
        chunk = (b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0"))
        content = png(values, 0 if values.ndim == 2 else 2, extra_chunk=chunk)
    else:
        content = tiff(values, orientation=orientation)
    assert_pixels(read_image(content, full_scale=65535), TURNS[orientation](by_formula(values, 65535)))


# --- files and names ---


def test_names_with_umlauts_spaces_and_emoji(tmp_path: Path) -> None:
    path = tmp_path / "Prüfstück Nr 7 – 部品 🔩.PNG"
    path.write_bytes(encode(COLOUR, "PNG"))
    assert_pixels(read_image(path), COLOUR)


def test_sha256_is_that_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "part.jpg"
    path.write_bytes(encode(COLOUR, "JPEG"))
    pixels, digest, _ = read_image_file(path)
    assert digest == hashlib.sha256(path.read_bytes()).hexdigest()
    assert_pixels(pixels, read_image(path.read_bytes()))


def test_the_content_decides_not_the_suffix(tmp_path: Path) -> None:
    path = tmp_path / "really a png.jpg"
    path.write_bytes(encode(COLOUR, "PNG"))
    assert_pixels(read_image(path), COLOUR)


def test_threads_read_what_one_thread_reads() -> None:
    contents = [
        encode(COLOUR, "JPEG"),
        encode(COLOUR, "PNG"),
        *(content for content, _ in SIXTEEN_BIT.values()),
    ] * 20
    alone = [read_image(content, full_scale=65535) for content in contents]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda content: read_image(content, full_scale=65535), contents))
    for expected, pixels in zip(alone, together, strict=True):
        np.testing.assert_array_equal(pixels, expected)


# --- refusals ---


def smooth() -> np.ndarray:
    """A picture large and rough enough that its data make up most of the file."""
    rows, columns = np.mgrid[:96, :128]
    noise = np.random.default_rng(2).integers(0, 40, (96, 128, 3))
    return (np.dstack([rows * 2, columns, rows + columns]) % 200 + noise).astype(np.uint8)


WHOLE = {
    "JPEG": encode(smooth(), "JPEG", quality=90),
    "progressive JPEG": encode(smooth(), "JPEG", quality=90, progressive=True),
    "PNG": encode(smooth(), "PNG"),
    "BMP": encode(smooth(), "BMP"),
    "TIFF": encode(smooth(), "TIFF"),
    "compressed TIFF": encode(smooth(), "TIFF", compression="tiff_lzw"),
    "WebP": encode(smooth(), "WEBP", quality=90),
    "16-bit grey PNG": png(smooth()[:, :, 0].astype(np.uint16) * 256, 0),
    "16-bit colour PNG": png(smooth().astype(np.uint16) * 256, 2),
    "16-bit grey TIFF": cv2.imencode(".tif", smooth()[:, :, 0].astype(np.uint16) * 256)[1].tobytes(),
    "16-bit colour TIFF": cv2.imencode(".tif", smooth().astype(np.uint16) * 256)[1].tobytes(),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", WHOLE)
def test_a_file_cut_short_anywhere_is_refused_or_still_whole(kind: str) -> None:
    """Never a half-grey picture. (A few bytes at the very end may hold nothing that is seen.)"""
    content = WHOLE[kind]
    whole = read_image(content, full_scale=65535)
    cuts = {
        *range(1, 64),
        *range(64, len(content), len(content) // 97),
        *range(len(content) - 64, len(content)),
    }
    read = [cut for cut in sorted(cuts) if not refused(content[:cut], whole)]
    assert all(cut > 0.99 * len(content) for cut in read)
    if "PNG" in kind:  # its end marker says whether it is whole; only that marker's checksum may be missing
        assert all(cut >= len(content) - 4 for cut in read)


def refused(content: bytes, whole: np.ndarray) -> bool:
    try:
        pixels = read_image(content, full_scale=65535, name="part")
    except ImageError as error:
        assert str(error).startswith("part: ")
        return True
    np.testing.assert_array_equal(pixels, whole)
    return False


@pytest.mark.parametrize("kind", ["PNG", "16-bit colour PNG"])
def test_a_flipped_bit_in_a_png_is_refused(kind: str) -> None:
    content = bytearray(WHOLE[kind])
    content[len(content) // 2] ^= 0x10
    with pytest.raises(ImageError, match=r"^part: damaged"):
        read_image(bytes(content), name="part", full_scale=65535)


UNSIGNED = "samples; save it with unsigned samples of 8 or 16 bits"
NO_PICTURE = "is not a PNG, JPEG, TIFF, WebP or BMP picture"
UNUSABLE = {
    "empty": (b"", "is empty (0 bytes)"),
    "letter": (b"Sehr geehrte Damen und Herren", NO_PICTURE),
    "gif": (
        encode(GREY, "GIF"),
        "is a GIF picture, which is not read; save it as one of PNG, JPEG, TIFF, WebP and BMP",
    ),
    "float": (tiff(GREY.astype(np.float32), sample_format=3), f"has floating-point 32-bit {UNSIGNED}"),
    "32-bit": (tiff(GREY.astype(np.uint32)), f"has unsigned 32-bit {UNSIGNED}"),
    "signed": (tiff(GREY.astype(np.int16), sample_format=2), f"has signed 16-bit {UNSIGNED}"),
    "12-bit": (tiff(GREY_16, bits=12, size_px=(13, 29)), f"has unsigned 12-bit {UNSIGNED}"),
    "inverted": (
        tiff(GREY_16, photometric=0),
        "is a 16-bit TIFF that is neither grey (0 is black) nor RGB; save it as one",
    ),
    "LAB": (
        encode(Image.frombytes("LAB", (WIDTH_PX, HEIGHT_PX), COLOUR.tobytes()), "TIFF"),
        "has colour mode LAB; save it as grey or RGB",
    ),
    "unknown to Pillow": (
        tiff(GREY.astype(np.float16), sample_format=3),
        "damaged, cut short or of an unknown variant (unknown pixel mode); save it again as grey or RGB",
    ),
}


@pytest.mark.parametrize("kind", UNUSABLE)
def test_unusable_files_are_refused_with_name_and_reason(kind: str, tmp_path: Path) -> None:
    content, reason = UNUSABLE[kind]
    path = tmp_path / "part 1.png"
    path.write_bytes(content)
    with pytest.raises(ImageError) as error:
        read_image(path)
    assert str(error.value) == f"{path}: {reason}"


def huge(file_format: str, width_px: int, height_px: int) -> bytes:
    """A few bytes that claim to be a very large picture."""
    match file_format:
        case "PNG":
            header = b"IHDR" + struct.pack(">IIBBBBB", width_px, height_px, 1, 0, 0, 0, 0)
            small = png(np.zeros((1, 1), np.uint8), 0, 8)
            return small[:12] + header + struct.pack(">I", zlib.crc32(header)) + small[33:]
        case "BMP":
            return (
                b"BM"
                + struct.pack("<IHHIIiiHHIIiiII", 99, 0, 0, 54, 40, width_px, height_px, 1, 24, 0, 0, 0, 0, 0, 0)
                + bytes(99)
            )
        case "TIFF":
            return tiff(np.zeros((4, 4), np.uint8), size_px=(height_px, width_px))
        case "WEBP":
            small = encode(np.zeros((8, 8, 4), np.uint8), "WEBP", lossless=True)
            extended = b"VP8X" + struct.pack("<I", 10) + b"\x10\0\0\0"
            extended += struct.pack("<I", width_px - 1)[:3] + struct.pack("<I", height_px - 1)[:3]
            return b"RIFF" + struct.pack("<I", len(small) - 8 + len(extended)) + b"WEBP" + extended + small[12:]
        case _:
            raise ValueError(file_format)


@pytest.mark.parametrize("file_format", ["PNG", "BMP", "TIFF"])
def test_huge_pictures_are_refused_before_decoding(file_format: str) -> None:
    with pytest.raises(ImageError) as error:
        read_image(huge(file_format, 15_001, 10_000), name="bomb")
    assert str(error.value) == (
        "bomb: 15001 x 10000 pixels are over the limit of 150,000,000; cut it into smaller pictures or shrink it"
    )


def test_a_huge_webp_is_refused() -> None:
    with pytest.raises(ImageError, match=r"^bomb: "):
        read_image(huge("WEBP", 16_383, 16_383), name="bomb")


def test_large_files_are_refused_before_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "part.bmp"
    path.write_bytes(bytes(3 * 2**20))
    monkeypatch.setattr(decode, "MAX_BYTES", 2**20)
    with pytest.raises(ImageError) as error:
        read_image(path)
    assert str(error.value) == (
        f"{path}: 3 MiB is over the limit of 1 MiB; cut it into smaller pictures or save it compressed"
    )


def test_missing_files_and_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"none\.png: no such file"):
        read_image(tmp_path / "none.png")
    with pytest.raises(ImageError, match=r"cannot be read|is empty"):
        read_image(tmp_path)


def test_nothing_is_decoded_while_other_code_lets_damage_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    with pytest.raises(ImageError, match="LOAD_TRUNCATED_IMAGES"):
        read_image(encode(COLOUR, "PNG"))


def test_the_console_stays_clean(tmp_path: Path) -> None:
    """Pillow warns and OpenCV prints about large and damaged files; the operator must only see our message."""
    for file_format in ("PNG", "TIFF"):  # inside our limit, above the one at which Pillow warns
        (tmp_path / f"large.{file_format}").write_bytes(huge(file_format, 12_000, 8_000))
    (tmp_path / "cut.tif").write_bytes(WHOLE["compressed TIFF"][:-40])
    (tmp_path / "half.png").write_bytes(png(smooth().astype(np.uint16) * 256, 2, kept=0.5))
    script = (
        "import sys\nfrom pathlib import Path\n"
        "from defectflow.errors import ImageError\nfrom defectflow.image.decode import read_image\n"
        "for path in sorted(Path(sys.argv[1]).iterdir()):\n"
        "    try:\n        read_image(path)\n    except ImageError:\n        print('refused')\n"
    )
    result = subprocess.run(
        [sys.executable, "-W", "default", "-c", script, str(tmp_path)],
        capture_output=True, text=True, check=True, cwd=Path(decode.__file__).parents[2],
    )  # fmt: skip
    assert result.stdout.split() == ["refused"] * 4
    assert result.stderr == ""


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".webp"])
def test_a_turned_pictures_size_is_that_of_its_pixels(tmp_path: Path, suffix: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.zeros((3, 5, 3), np.uint8)).save(tmp_path / f"a{suffix}", exif=exif)
    height, width, _ = read_image(tmp_path / f"a{suffix}").shape
    assert (width, height) == size_px(tmp_path / f"a{suffix}") == (3, 5)
