"""What happens to damaged and hostile input: pictures, masks, ZIPs, cards, manifests, recipes, journals.

    python benchmarks/fuzz.py [--inputs 100000] [--kinds pictures zips] [--seed 0] [--first 0]

Each input is a small valid one with a few changes, made anew from seed, kind and number, so a finding can be repeated:
`--seed S --kinds K --first N --inputs 1`. Right is a value or a DefectFlowError. All else is a finding: another
exception, a crash of the process, more than SLOW_S seconds, more memory than MEMORY. `--keep FOLDER` keeps the inputs
of findings; after a crash, which `faulthandler` tells, the last one lies in FOLDER/at-hand.

Decoders get a lower limit of pixels than the product's, which keeps a run cheap; what is over it is refused at once.
What libtiff says on the error stream is its own.
"""

import argparse
import asyncio
import faulthandler
import json
import random
import resource
import sys
import tempfile
import time
import traceback
import zipfile
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from datetime import datetime
from io import BytesIO
from pathlib import Path

import numpy as np
from defectflow_ui.settings import Limits
from defectflow_ui.visits.uploads import Drop
from PIL import Image

from defectflow.bundle import (
    CARD,
    EMBEDDINGS,
    EXPECTED,
    GOLDEN_MAPS,
    INDEX,
    MODEL,
    Bundle,
    CalibrationPart,
    Card,
    ImageCard,
    PartCounts,
    file_digest,
    open_bundle,
    read_card,
)
from defectflow.data import look_through
from defectflow.errors import DefectFlowError
from defectflow.image import read_image, read_mask, size_px
from defectflow.line import read_certificate
from defectflow.line.golden import read_golden
from defectflow.line.journal import gather_parts, read_journal, read_run
from defectflow.line.reference import References
from defectflow.recipe import builtin_recipes, load_recipe

SLOW_S = 10.0
MEMORY = 6 * 2**30
PIXELS = 4_000_000
RIGHT = ("read", "refused")
AT_HAND = "at-hand"
Probe = Callable[[bytes, Path], object]
"""Tries an input, given as bytes and as a file. Returns, or raises what the product raises."""


# ---- what is changed ------------------------------------------------------------------------------------------------


def pictures() -> list[bytes]:
    """Small pictures in all kinds of formats, depths and ways to pack."""
    drawn = np.random.default_rng(0).integers(0, 256, (12, 17, 4), np.uint8)
    colour, grey = Image.fromarray(drawn[:, :, :3]), Image.fromarray(drawn[:, :, 0])
    alpha, deep = Image.fromarray(drawn), Image.fromarray(drawn[:, :, 0].astype(np.uint16) * 257)
    exif = Image.Exif()
    exif[0x0112] = 6
    saved: list[tuple[Image.Image, str, dict[str, object]]] = [
        (colour, "png", {}),
        (alpha, "png", {}),
        (deep, "png", {}),
        (colour.quantize(16), "png", {"transparency": 3}),
        (colour, "jpeg", {"exif": exif}),
        (colour, "jpeg", {"progressive": True, "subsampling": 2}),
        (colour.convert("CMYK"), "jpeg", {}),
        (grey, "bmp", {}),
        (colour, "bmp", {}),
        (alpha, "bmp", {}),
        (colour, "webp", {"lossless": True}),
        (alpha, "webp", {"quality": 60}),
        (deep, "tiff", {}),
        *((colour, "tiff", {"compression": name}) for name in ("raw", "tiff_lzw", "tiff_adobe_deflate", "jpeg")),
        (grey.convert("1"), "tiff", {"compression": "group4"}),
        (alpha, "tiff", {"compression": "tiff_lzw"}),
    ]
    return [_saved(picture, form, **options) for picture, form, options in saved]


def _saved(picture: Image.Image, form: str, **options: object) -> bytes:
    stream = BytesIO()
    picture.save(stream, form, **options)
    return stream.getvalue()


def zips() -> list[bytes]:
    """With pictures, notes, folders, odd names, another ZIP; stored, deflated, as a stream."""
    some = pictures()
    files = {"a.png": some[0], "day/b": some[4], "notes.txt": b"x" * 50, "../c.bmp": some[7], "day/": b""}
    inner = _zipped({"a.png": some[0]}, zipfile.ZIP_DEFLATED)
    return [
        _zipped({"a.png": some[0], "day/b": some[4], "notes.txt": b"x" * 50}, zipfile.ZIP_DEFLATED),
        _zipped(files, zipfile.ZIP_STORED),
        _zipped({"inner.zip": inner, "a.webp": some[10]}, zipfile.ZIP_DEFLATED),
        _zipped({"a.png": some[0]}, zipfile.ZIP_BZIP2),
        _zipped({}, zipfile.ZIP_STORED),
    ]


def _zipped(files: dict[str, bytes], method: int) -> bytes:
    stream = BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return stream.getvalue()


def card() -> Card:
    """A calibrated card."""
    rows = [CalibrationPart(part=str(n), score=n / 40 if n else None, peak=n / 20, pictures=1) for n in range(40)]
    return Card(
        name="bracket",
        created="2026-01-01T00:00:00+00:00",
        bundle_id="b" * 12,
        image=ImageCard(size_px=64, aspect="stretch", rectangle=None, full_scale=4095),
        top_fraction=0.01,
        distance_limit=10.0,
        good_spread=1.0,
        parts=PartCounts(train=50, tune=9, calibration=40),
        part_regex=r"(part\d+)",
        wanted_rate=0.05,
        wanted_guarantee="expected",
        wanted_review_rate=0.1,
        parts_known=True,
        calibration_parts=(),
        calibration=None,
        recipe={"image": {"size": 64}},
        training={},
        export_parity={"score": 1e-6},
        versions={"defectflow": "0.1"},
        checksums={MODEL: "0" * 64},
    ).calibrated(tuple(rows), 0.1, "expected", 0.2)


def models() -> list[bytes]:
    """The smallest ONNX file that has a card."""
    import onnx

    graph = onnx.helper.make_graph([], "empty", [], [])
    model = onnx.helper.make_model(graph)
    onnx.helper.set_model_props(model, {"defectflow.card": card().model_dump_json(), "other": "x"})
    return [model.SerializeToString()]


def manifests() -> list[bytes]:
    head = "path,label,kind,mask,part,split,lot\n"
    rows = 'a.png,good,,,p1,train,7\nb.png,NG,scratch,m.png,p2,test,8\n"c,d.png",1,,,p3,,\n'
    return [
        (head + rows).encode(),
        (head + rows).replace(",", ";").encode("utf-16"),
        (head + rows).replace(",", "\t").encode("utf-8-sig"),
        "Path;Label\na.png;OK\nM\u0308.png;Good\n".encode(),
    ]


def recipes() -> list[bytes]:
    own = b"image: {size: 64, full_scale: 4095}\nflow: &f {family: glow, layers: 2}\ntraining:\n  steps: 30 # few\n"
    return [own, *(path.read_bytes() for path in builtin_recipes().values())]


def bundles() -> list[bytes]:
    """What lies in a bundle beside card and model: who was in the fit, and what golden pictures gave."""
    index = {"fitted": {"0" * 64: "train"}, "parts": {"1": "train"}, "thumbnails": [{"file": "0.jpg", "part": "1"}]}
    expected = {"native-0.png": {"score": 0.5, "distance": 1.0, "pixels": "0" * 64}, "grey-16-bit.png": None}
    return [json.dumps(index).encode(), json.dumps(expected).encode()]


def journals() -> list[bytes]:
    row = {"file": "a.png", "part": "1", "decision": "ok", "score": 0.5, "regions": [{"peak": 1.0}], "label": "good"}
    rows = [row, row | {"file": "b.png", "decision": "error", "score": None, "error": "b.png: cut short"}]
    run = {"bundle": "x", "card": card().model_dump(mode="json"), "source": "in", "pictures": 2}
    run |= {"started": "2026-01-01T00:00:00+00:00", "finished": "2026-01-01T00:01:00+00:00"}
    return ["".join(json.dumps(one) + "\n" for one in rows).encode(), json.dumps(run).encode()]


# ---- how it is tried ------------------------------------------------------------------------------------------------


def try_picture(content: bytes, file: Path) -> object:
    return read_image(content, full_scale=4095, name="fuzz"), size_px(file)


def try_mask(content: bytes, file: Path) -> object:
    return read_mask(file)


def try_zip(content: bytes, file: Path) -> object:
    async def chunks() -> AsyncIterator[bytes]:
        yield content

    drop = Drop(Limits(file_bytes=200_000, drop_bytes=400_000, files=5, pixels=PIXELS))
    try:
        asyncio.run(drop.receive("fuzz.zip", chunks()))
        arrived = drop.take(0, 0)[0]
        assert arrived, "an upload was passed over in silence"
        assert all((one.file is None) != (one.error is None) for one in arrived)
        assert sum(path.stat().st_size for path in drop.folder.iterdir()) <= 400_000
        return arrived
    finally:
        drop.close()


def try_card(content: bytes, file: Path) -> object:
    """As a bundle's, whose seal then breaks; and what a card says that was sealed so."""
    (file.parent / CARD).write_bytes(content)
    try:
        open_bundle(file.parent)
    except DefectFlowError as refused:
        try:
            found = Card.model_validate_json(content)
        except ValueError:  # pydantic's, which open_bundle has turned into its own
            raise refused from None
        return sentences(found)


def sentences(found: Card) -> object:
    """What a card that was accepted says."""
    return (
        found.guarantee(),
        found.calibration_id,
        found.rule,
        found.image.geometry,
        datetime.fromisoformat(found.created),
    )


def try_bundle(content: bytes, file: Path) -> object:
    """Sealed by whoever made it: its checksums are right."""
    folder = file.parent
    for name in (INDEX, EXPECTED, f"{CARD}.partial"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
    embeddings = BytesIO()
    np.save(embeddings, np.ones((1, 4), np.float32))
    (folder / EMBEDDINGS).write_bytes(embeddings.getvalue())
    np.save(folder / GOLDEN_MAPS, np.ones((1, 2, 2), np.float32))
    (folder / CARD).write_text(card().to_json())
    sealed = card().model_copy(update={"checksums": {name: file_digest(folder / name) for name in (INDEX, EMBEDDINGS)}})
    bundle, ends = Bundle(folder, sealed), list[object]()
    for look in (lambda: References(bundle), lambda: read_golden(bundle), lambda: open_bundle(folder)):
        try:
            ends.append(look())
        except DefectFlowError as error:
            last = error
    if not ends:
        raise last
    return ends


def try_model(content: bytes, file: Path) -> object:
    return sentences(read_card(file))


def try_manifest(content: bytes, file: Path) -> object:
    manifest = file.with_name("manifest.csv")
    manifest.write_bytes(content)
    for name in ("a.png", "b.png", "m.png", "c,d.png", "M\u0308.png"):
        file.with_name(name).touch()
    return look_through(manifest), look_through(file.parent, label="good").summary()


def try_recipe(content: bytes, file: Path) -> object:
    recipe = file.with_name("fuzz.yaml")
    recipe.write_bytes(content)
    return load_recipe(str(recipe))


def try_journal(content: bytes, file: Path) -> object:
    if content[:9] == b'{"bundle"':
        run = read_run(file)
        return run.seconds, run.judged, sentences(run.card)
    try:
        return [(part.rank, part.label) for part in gather_parts(read_journal(file)[0])]
    finally:
        with suppress(DefectFlowError):
            read_certificate(file)


KINDS: dict[str, tuple[Callable[[], list[bytes]], Probe]] = {
    "pictures": (pictures, try_picture),
    "masks": (pictures, try_mask),
    "zips": (zips, try_zip),
    "cards": (lambda: [card().to_json().encode()], try_card),
    "models": (models, try_model),
    "bundles": (bundles, try_bundle),
    "manifests": (manifests, try_manifest),
    "recipes": (recipes, try_recipe),
    "journals": (journals, try_journal),
}
SHARES = {
    "pictures": 0.4,
    "masks": 0.1,
    "zips": 0.1,
    "cards": 0.07,
    "models": 0.03,
    "bundles": 0.05,
    "manifests": 0.1,
    "recipes": 0.05,
}
SHARES["journals"] = 1 - sum(SHARES.values())


# ---- changes --------------------------------------------------------------------------------------------------------

NUMBERS = (0, 1, 2, 7, 8, 16, 127, 128, 255, 256, 32767, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1)
WORDS = (
    *(b"NaN", b"Infinity", b"-1e999", b"1e-320", b"null", b"true", b"[]", b"{}", b'""', b"-1", b"9" * 400, b"0.0"),
    *(b"[" * 3000, b'{"a":' * 2000, b"&a [*a]", b"!!python/name:os.system", b"2026-99-99", b"0x", b"1_0", b"<<: *f"),
    *(
        b"\\ud800",
        b"\xff\xfe",
        b"\0",
        b"\r",
        b'"',
        b";",
        b"../../x",
        b"\xef\xbb\xbf",
        b"=1+1",
        b"~",
        b"? ",
        b"- ",
        b": ",
    ),
)


def changed(content: bytes, other: bytes, chance: random.Random) -> bytes:
    """A few changes, of the kinds that storage, transport and attackers make."""
    made = bytearray(content)
    for _ in range(chance.choice((1, 1, 1, 2, 3, 5, 9))):
        at = chance.randrange(len(made) + 1)
        length = chance.choice((1, 1, 2, 4, 8, 30))
        match chance.randrange(9):
            case 0 if made:
                made[at % len(made)] ^= 1 << chance.randrange(8)
            case 1 if made:
                made[at % len(made)] = chance.randrange(256)
            case 2:
                del made[at : at + length]
            case 3:
                made[at:at] = made[at : at + length] * chance.choice((1, 2, 50))
            case 4:
                made[at:at] = chance.randbytes(length)
            case 5:
                size, order = chance.choice((1, 2, 4)), chance.choice(("little", "big"))
                made[at : at + size] = (chance.choice(NUMBERS) % 256**size).to_bytes(size, order)
            case 6:
                made[at : at + chance.choice((0, length))] = chance.choice(WORDS)
            case 7:
                begin = chance.randrange(len(other) + 1)
                made[at : at + length] = other[begin : begin + chance.choice((length, 200))]
            case 8 if chance.random() < 0.3:
                del made[at:]
    return bytes(made)


def input_of(kind: str, number: int, seed: int, bases: list[bytes]) -> bytes:
    chance = random.Random(f"{seed} {kind} {number}")
    return changed(chance.choice(bases), chance.choice(bases), chance)


# ---- a run ----------------------------------------------------------------------------------------------------------


def outcome(probe: Probe, content: bytes, folder: Path) -> tuple[str, str]:
    """How an input ended, one of RIGHT or what was found in a few words; and a traceback."""
    file = folder / "input"
    file.write_bytes(content)
    began = time.monotonic()
    try:
        probe(content, file)
        said = "read"
    except DefectFlowError:
        said = "refused"
    except Exception as error:
        every = traceback.extract_tb(error.__traceback__)
        frames = [frame for frame in every if "defectflow" in frame.filename] or every
        return f"{type(error).__name__} at {Path(frames[-1].filename).name}:{frames[-1].lineno}", traceback.format_exc()
    took = time.monotonic() - began
    return (said, "") if took <= SLOW_S else (f"over {SLOW_S:.0f} s", f"{took:.1f} s")


def run(kind: str, inputs: range, seed: int, folder: Path, keep: Path | None) -> Counter[str]:
    """Tries inputs of one kind; counts of how they ended, findings by the line that raised them."""
    make, probe = KINDS[kind]
    bases, counts = make(), Counter[str]()
    for number in inputs:
        faulthandler.dump_traceback_later(20 * SLOW_S, exit=True)
        content = input_of(kind, number, seed, bases)
        if keep is not None:
            (keep / AT_HAND).write_bytes(content)
        said, details = outcome(probe, content, folder)
        if said not in RIGHT:
            if said not in counts:
                print(f"{kind} {number}: {said}\n{details}", flush=True)
            if keep is not None:
                (keep / f"{kind}-{seed}-{number}").write_bytes(content)
        counts[said] += 1
    faulthandler.cancel_dump_traceback_later()
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--kinds", nargs="*", choices=KINDS, default=list(KINDS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--keep", type=Path)
    asked = parser.parse_args()
    faulthandler.enable()
    if asked.keep is not None:
        asked.keep.mkdir(parents=True, exist_ok=True)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    sys.modules[read_image.__module__].MAX_PIXELS = PIXELS  # type: ignore[attr-defined]
    whole, failed = sum(SHARES[kind] for kind in asked.kinds), 0
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        for kind in asked.kinds:
            count = max(1, round(asked.inputs * SHARES[kind] / whole))
            began = time.monotonic()
            counts = run(kind, range(asked.first, asked.first + count), asked.seed, Path(folder), asked.keep)
            took = time.monotonic() - began
            found = {said: number for said, number in counts.items() if said not in RIGHT}
            failed += sum(found.values())
            told = f"{counts['read']:,} read, {counts['refused']:,} refused, {sum(found.values()):,} findings"
            print(f"{kind}: {count:,} inputs in {took:.0f} s: {told}", flush=True)
            for said, number in found.items():
                print(f"  {number} x {said}", flush=True)
    sys.exit(min(failed, 1))


if __name__ == "__main__":
    main()
