"""Bytes or file -> uint8 RGB. The first step of the data path, shared by fit and by the line.

Every picture that DefectFlow sees, in training, calibration and inspection, is decoded by `read_image`, so
colour order, bit depth and orientation cannot differ between them. `read_raw` stops before 16-bit values are
scaled; `brightest` and `full_scale_for` find the scale at fit.

Rules: grey becomes three equal channels; transparent pixels are put on black; EXIF orientation is applied; of
several pages or frames the first is read; embedded colour profiles are ignored (the camera's numbers are the
measurement). The content decides what a file is, never its suffix.
"""

from __future__ import annotations

import hashlib
import warnings
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageFile, ImageOps
from PIL.BmpImagePlugin import BmpImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from defectflow.errors import ImageError
from defectflow.image.depth import RawPixels, decode_16_bit, to_uint8
from defectflow.image.form import PictureForm
from defectflow.image.jpeg_scans import check_whole
from defectflow.image.kinds import HEADER_BYTES, READ, foreign_kind, kind_of

SUFFIXES: frozenset[str] = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"})
"""Suffixes, in lower case, of files that should be pictures; others are pictures by their content."""
TIFF_WIDTH, TIFF_HEIGHT = 256, 257
MAX_PIXELS = 150_000_000
"""Largest width x height that is decoded: a picture of a few kB can claim to be many GB."""
MAX_BYTES = 512 * 1024 * 1024
"""Largest file that is read, in bytes."""
# Sizes are checked here and damage raises; Pillow's own warnings about both would only reach the operator's
# console. A filter, because warnings.catch_warnings is not thread-safe and pictures are decoded in threads.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
warnings.filterwarnings("ignore", category=RuntimeWarning, module=r"PIL\.")

_TIFF_BITS, _TIFF_PHOTOMETRIC, _TIFF_SAMPLE_FORMAT, _TIFF_SUBFILE, _TIFF_PLANES, _TIFF_EXTRA = (
    258,
    262,
    339,
    254,
    284,
    338,
)
_TIFF_UNSIGNED, _TIFF_GREY, _TIFF_RGB, _TIFF_THUMBNAIL, _TIFF_SEPARATE, _TIFF_ALPHA = 1, 1, 2, 1, 2, 2
_EIGHT_BIT_MODES = frozenset({"1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr"})


def read_image(source: Path | bytes, *, full_scale: int | None = None, name: str | None = None) -> NDArray[np.uint8]:
    """One picture, as a file or as a file's bytes -> (H, W, 3) uint8 RGB, C-contiguous.

    16-bit values become round(value / full_scale * 255), clipped to 255; `full_scale` never touches 8-bit
    pictures, and a picture's own range is never used. `name` stands for the picture in messages; by default
    the path. Thread-safe. Raises ImageError '<name>: <reason>'.
    """
    name = _name(source, name)
    return to_uint8(read_raw(source, name=name), full_scale=full_scale, name=name)


def read_image_file(path: Path, *, full_scale: int | None = None) -> tuple[NDArray[np.uint8], str, PictureForm]:
    """`read_image` of a file, with the SHA-256 (hex) of the same bytes, and the stored pixels' form: read once."""
    content = read_file(path)
    raw = read_raw(content, name=str(path))
    return to_uint8(raw, full_scale=full_scale, name=str(path)), sha256(content), PictureForm.of(raw)


def read_file(path: Path, *, name: str | None = None) -> bytes:
    """The bytes of a picture file. Raises ImageError if it cannot be read, is empty or is over MAX_BYTES."""
    # Not cv2.imread: on Windows it cannot open paths outside the machine's code page.
    name = _name(path, name)
    try:
        _check_bytes(path.stat().st_size, name)
        return path.read_bytes()
    except FileNotFoundError as error:
        raise ImageError(f"{name}: no such file") from error
    except OSError as error:
        raise ImageError(f"{name}: cannot be read ({error.strerror or error})") from error


def sha256(content: bytes) -> str:
    """SHA-256 of a file's bytes, in hex."""
    return hashlib.sha256(content).hexdigest()


def read_raw(source: Path | bytes, *, name: str | None = None) -> RawPixels:
    """One picture -> (H, W, 3) RGB, C-contiguous: uint8, or uint16 as stored if the file has 16 bits.

    Raises ImageError '<name>: <reason>', before decoding if the picture is over MAX_PIXELS or MAX_BYTES.
    """
    name = _name(source, name)
    content = read_file(source) if isinstance(source, Path) else source
    _check_bytes(len(content), name)
    try:
        picture = open_picture(content, name)
        _check_pixels(picture.size, name)
        bits = _bits_per_sample(picture, content, name)
        if bits == 16:
            return decode_16_bit(picture, content, name, alpha=_has_alpha(picture))
        if isinstance(picture, JpegImageFile):
            picture.load()
            check_whole(picture, content, name)
        return _decode_8_bit(picture, name)
    except ImageError:
        raise
    except MemoryError as error:
        raise ImageError(f"{name}: not enough memory to decode it") from error
    except Exception as error:  # decoders raise whatever type the damage leads to
        raise ImageError(
            f"{name}: damaged, cut short or of an unknown variant ({error}); save it again as grey or RGB"
        ) from error


def size_px(path: Path, *, name: str | None = None) -> tuple[int, int]:
    """(width, height) that a picture file's header states, as the camera was held; nothing is decoded.

    Raises ImageError as `read_raw` does.
    """
    name = _name(path, name)
    try:
        picture = open_picture(read_file(path, name=name), name)
        width_px, height_px = picture.size
        if isinstance(picture, TiffImageFile):  # newer Pillows have turned its size already
            width_px, height_px = picture.tag_v2[TIFF_WIDTH], picture.tag_v2[TIFF_HEIGHT]
        # Not picture.getexif: a PNG's would decode all pixels to look for what may come after them.
        turned = Image.Image.getexif(picture).get(ExifTags.Base.Orientation, 1) in (5, 6, 7, 8)
    except ImageError:
        raise
    except Exception as error:  # decoders raise whatever type the damage leads to
        raise ImageError(f"{name}: damaged or cut short ({error})") from error
    return (height_px, width_px) if turned else (width_px, height_px)


def _name(source: Path | bytes, name: str | None) -> str:
    if name is not None:
        return name
    return str(source) if isinstance(source, Path) else "picture"


def _check_bytes(size_bytes: int, name: str) -> None:
    if size_bytes == 0:
        raise ImageError(f"{name}: is empty (0 bytes)")
    if size_bytes > MAX_BYTES:
        raise ImageError(
            f"{name}: {size_bytes / 2**20:.0f} MiB is over the limit of {MAX_BYTES // 2**20} MiB; "
            "cut it into smaller pictures or save it compressed"
        )


def _check_pixels(size: tuple[int, int], name: str) -> None:
    width_px, height_px = size
    if width_px * height_px > MAX_PIXELS:
        raise ImageError(
            f"{name}: {width_px} x {height_px} pixels are over the limit of {MAX_PIXELS:,}; "
            "cut it into smaller pictures or shrink it"
        )


def open_picture(content: bytes, name: str) -> ImageFile.ImageFile:
    """Read the header only.

    Pillow decodes because it refuses files that are cut short, where OpenCV returns a half-grey picture; it
    is about as fast, and releases the GIL too. Its classes are called directly because Image.open would apply
    a process-wide size limit, with a warning, before ours.
    """
    if ImageFile.LOAD_TRUNCATED_IMAGES:
        raise ImageError(
            f"{name}: not decoded, because other code in this process has set Pillow's "
            "LOAD_TRUNCATED_IMAGES, under which damaged pictures look whole; set it to False"
        )
    stream = BytesIO(content)
    match kind_of(content[:HEADER_BYTES]):
        case "PNG":
            if content.rfind(b"IEND") < 0:  # Pillow does not miss the end once it has all rows
                raise ImageError(f"{name}: damaged or cut short (the end of the PNG file is missing)")
            return PngImageFile(stream)
        case "JPEG":
            return JpegImageFile(stream)
        case "TIFF":
            return TiffImageFile(stream)
        case "WebP":
            return WebPImageFile(stream)
        case "BMP":
            return BmpImageFile(stream)
    if foreign := foreign_kind(content[:HEADER_BYTES]):
        raise ImageError(f"{name}: is a {foreign} picture, which is not read; save it as one of {READ}")
    raise ImageError(f"{name}: is not a PNG, JPEG, TIFF, WebP or BMP picture")


def _bits_per_sample(picture: ImageFile.ImageFile, content: bytes, name: str) -> int:
    """16 or at most 8, from the header; Pillow's mode does not tell 16-bit colour from 8-bit.

    Raises ImageError for anything else: floats, signed values, 12-, 32- and 64-bit samples.
    """
    if isinstance(picture, PngImageFile):
        return content[24]  # the header is always a PNG file's first chunk, at this place
    if not isinstance(picture, TiffImageFile):
        return 8
    tags = picture.tag_v2
    if tags.get(_TIFF_SUBFILE, 0) & _TIFF_THUMBNAIL and getattr(picture, "n_frames", 1) > 1:
        raise ImageError(f"{name}: is a TIFF that begins with a thumbnail; save the full picture as its first page")
    depths, formats = set(tags.get(_TIFF_BITS, (1,))), set(tags.get(_TIFF_SAMPLE_FORMAT, (_TIFF_UNSIGNED,)))
    bits = max(depths)
    if formats != {_TIFF_UNSIGNED} or (bits > 8 and depths != {16}):
        kind = {2: "signed", 3: "floating-point"}.get(max(formats), "unsigned")
        raise ImageError(f"{name}: has {kind} {bits}-bit samples; save it with unsigned samples of 8 or 16 bits")
    if bits == 16 and tags.get(_TIFF_PHOTOMETRIC) not in (_TIFF_GREY, _TIFF_RGB):
        raise ImageError(f"{name}: is a 16-bit TIFF that is neither grey (0 is black) nor RGB; save it as one")
    if bits == 16 and tags.get(_TIFF_PLANES) == _TIFF_SEPARATE:
        raise ImageError(f"{name}: is a 16-bit TIFF with one plane per colour; save its colours pixel by pixel")
    return int(bits)


def _has_alpha(picture: ImageFile.ImageFile) -> bool:
    """Whether a fourth channel is alpha, and the colours are not multiplied with it yet. A TIFF's may be anything."""
    if isinstance(picture, TiffImageFile):
        extra: tuple[int, ...] = picture.tag_v2.get(_TIFF_EXTRA) or ()
        return extra == (_TIFF_ALPHA,)
    return True


def _decode_8_bit(picture: ImageFile.ImageFile, name: str) -> NDArray[np.uint8]:
    picture.load()
    ImageOps.exif_transpose(picture, in_place=True)
    image: Image.Image = picture
    if picture.has_transparency_data:
        # Black, not "drop alpha": the colours under transparent pixels are leftovers that nobody sees, and
        # must not change a verdict.
        cut_out = picture.convert("RGBA")
        if isinstance(picture, BmpImageFile) and not np.asarray(cut_out)[:, :, 3].any():
            return np.array(cut_out.convert("RGB"))  # a byte that nobody has filled: viewers ignore it, too
        image = Image.alpha_composite(Image.new("RGBA", cut_out.size, (0, 0, 0, 255)), cut_out)
    elif picture.mode not in _EIGHT_BIT_MODES:
        raise ImageError(f"{name}: has colour mode {picture.mode}; save it as grey or RGB")
    return np.array(image if image.mode == "RGB" else image.convert("RGB"))  # (H, W, 3)


def pixel_digest(pixels: RawPixels) -> str:
    """SHA-256 (hex) of raw pixels and their shape: equal for equal pictures, however they are stored."""
    digest = hashlib.sha256(f"{pixels.shape} {pixels.dtype}".encode())
    digest.update(pixels.data)
    return digest.hexdigest()
