"""What is beside the colours in a file, and how it is stored, does not change what is seen: or it is refused."""

from __future__ import annotations

import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from defectflow.errors import ImageError
from defectflow.image import read_image, read_mask, read_raw

PIXELS = np.random.default_rng(0).integers(1, 65_535, (6, 7, 3)).astype(np.uint16)
UNSPECIFIED, PREMULTIPLIED, ALPHA = 0, 1, 2


def tiff(
    path: Path, samples: NDArray[np.uint16], *, extra: int | None = None, planar: bool = False, first: bool = False
) -> Path:
    """A little-endian TIFF of one strip (planar: one per channel), written by the letter of TIFF 6.0.

    `first`: before it comes a page that is marked as a thumbnail.
    """
    height, width, channels = samples.shape
    strips = [samples[:, :, one].tobytes() for one in range(channels)] if planar else [samples.tobytes()]
    content = bytearray(b"II*\0" + bytes(4))
    link = 4

    def page(strips: list[bytes], width: int, height: int, subfile: int) -> None:
        nonlocal link
        places = []
        for strip in strips:
            places.append(len(content))
            content.extend(strip)

        def several(values: list[int], form: str) -> int:
            at = len(content)
            content.extend(struct.pack(f"<{len(values)}{form}", *values))
            return at

        bits, offsets = several([16] * channels, "H"), several(places, "I")
        counts = several([len(strip) for strip in strips], "I")
        one = len(strips) == 1
        entries = [
            (254, 4, 1, subfile), (256, 4, 1, width), (257, 4, 1, height), (258, 3, channels, bits), (259, 3, 1, 1),
            (262, 3, 1, 2), (273, 4, len(strips), places[0] if one else offsets), (277, 3, 1, channels),
            (278, 4, 1, height), (279, 4, len(strips), len(strips[0]) if one else counts),
            (284, 3, 1, 2 if planar else 1), *([(338, 3, 1, extra)] if extra is not None else []),
        ]  # fmt: skip
        content[link : link + 4] = struct.pack("<I", len(content))
        content.extend(struct.pack("<H", len(entries)))
        for entry in entries:
            content.extend(struct.pack("<HHII", *entry))
        link = len(content)
        content.extend(bytes(4))

    if first:
        page([samples[:2, :2].tobytes()], 2, 2, 1)
    page(strips, width, height, 0)
    path.write_bytes(content)
    return path


def with_fourth(values: int) -> NDArray[np.uint16]:
    return np.dstack([PIXELS, np.full(PIXELS.shape[:2], values, np.uint16)])


def test_the_files_are_what_an_independent_reader_sees(tmp_path: Path) -> None:
    seen = cv2.imread(str(tiff(tmp_path / "a.tif", PIXELS)), cv2.IMREAD_UNCHANGED)
    assert seen is not None
    np.testing.assert_array_equal(seen[:, :, ::-1], PIXELS)


def test_a_fourth_channel_that_is_not_alpha_is_left_aside(tmp_path: Path) -> None:
    """Near infrared, say; and colours that are multiplied with their alpha already are not multiplied again."""
    for extra in (UNSPECIFIED, PREMULTIPLIED):
        path = tiff(tmp_path / f"{extra}.tif", with_fourth(300), extra=extra)
        np.testing.assert_array_equal(read_raw(path), PIXELS)
    shown = read_raw(tiff(tmp_path / "alpha.tif", with_fourth(32_768), extra=ALPHA))
    np.testing.assert_allclose(shown, PIXELS * (32_768 / 65_535), atol=1)


def test_planes_and_thumbnails_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"planes\.tif: is a 16-bit TIFF with one plane per colour; save"):
        read_raw(tiff(tmp_path / "planes.tif", PIXELS, planar=True))
    with pytest.raises(ImageError, match=r"small\.tif: is a TIFF that begins with a thumbnail; save the full picture"):
        read_raw(tiff(tmp_path / "small.tif", PIXELS, first=True))


@pytest.mark.parametrize("header", [56, 108, 124])
def test_an_alpha_byte_that_nobody_has_filled_makes_no_bmp_black(tmp_path: Path, header: int) -> None:
    colours = (PIXELS >> 8).astype(np.uint8)
    height, width = colours.shape[:2]
    body = np.dstack([colours[::-1, :, ::-1], np.zeros((height, width), np.uint8)]).tobytes()
    info = struct.pack("<IiiHHIIiiII", header, width, height, 1, 32, 3, 0, 2835, 2835, 0, 0)
    info += struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    info += (b"BGRs" + bytes(header - 60)) if header > 56 else b""
    path = tmp_path / "a.bmp"
    path.write_bytes(b"BM" + struct.pack("<IHHI", 14 + header + len(body), 0, 0, 14 + header) + info + body)
    independent = cv2.imread(str(path), cv2.IMREAD_COLOR)
    assert independent is not None
    np.testing.assert_array_equal(independent[:, :, ::-1], colours)
    np.testing.assert_array_equal(read_image(path), colours)


# --- masks ---

MARKED = np.zeros((8, 9), bool)
MARKED[2:5, 3:6] = True
GREY = MARKED.astype(np.uint8)


def palette(colour: tuple[int, int, int]) -> Image.Image:
    picture = Image.fromarray(GREY, "P")
    picture.putpalette([0, 0, 0, *colour])
    return picture


MASKS = {
    "0 and 255": Image.fromarray(GREY * 255),
    "0 and 1": Image.fromarray(GREY),
    "0 and 2": Image.fromarray(GREY * 2),
    "one bit": Image.fromarray(MARKED),
    "16 bits": Image.fromarray(GREY.astype(np.uint16)),
    "red palette": palette((128, 0, 0)),
    "blue": Image.fromarray(np.dstack([GREY * 0, GREY * 0, GREY * 255])),
    "drawn on transparent": Image.fromarray(np.dstack([GREY * 0, GREY * 0, GREY * 0, GREY * 255])),
    "opaque": Image.fromarray(np.dstack([GREY * 255, GREY * 255, GREY * 255, GREY * 0 + 255])),
}


@pytest.mark.parametrize("name", MASKS)
def test_a_mask_marks_what_is_not_black(tmp_path: Path, name: str) -> None:
    path = tmp_path / "mask.png"
    MASKS[name].save(path)
    np.testing.assert_array_equal(read_mask(path), MARKED)


def test_blank_blurred_and_several_masks(tmp_path: Path) -> None:
    Image.fromarray(GREY * 0).save(tmp_path / "blank.png")
    assert not read_mask(tmp_path / "blank.png").any()
    large = np.kron(GREY, np.ones((8, 8), np.uint8))
    Image.fromarray(large * 255).save(tmp_path / "a.jpg", quality=60)
    np.testing.assert_array_equal(read_mask(tmp_path / "a.jpg"), large > 0)
    folder = tmp_path / "several"
    folder.mkdir()
    Image.fromarray(GREY * 255).save(folder / "000.png")
    Image.fromarray(GREY[::-1] * 255).save(folder / "001.png")
    np.testing.assert_array_equal(read_mask(folder), MARKED | MARKED[::-1])
