"""A bundle -> the same model in another precision, calibrated through the graph that will run. No training, no torch.

    find the fit's pictures by their pixels -> convert the backbone (int8: ranges from train parts)
    -> the score's constants and the gate's limit again, from tune parts -> calibration parts, through the new graph

The constants come from the same sides of the split as in the fit, so the guarantee holds for what is deployed.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from defectflow.bundle import (
    CARD,
    CORE,
    MODEL,
    RECTANGLE,
    SIGNATURE,
    SQUARE,
    Bundle,
    Card,
    checksums,
    file_digest,
    fitted_digests,
    fitted_parts,
    open_bundle,
    save_bundle,
)
from defectflow.bundle.verdict_nodes import core_of, detach_verdict, has_core
from defectflow.common import Progress, Watch, unwatched, utc_now
from defectflow.convert.quantising import (
    Constants,
    Precision,
    inside,
    level_constants,
    level_maps,
    with_level_constants,
    with_precision,
)
from defectflow.data import Picture, find_pictures
from defectflow.errors import BundleError, CalibrationError, DataError, ImageError, SettingsError
from defectflow.image import Geometry, pixel_digest, read_image, read_raw, to_square
from defectflow.line import CPU, Inspector, measure_parts, record_golden
from defectflow.recipe import parse_recipe
from defectflow.verdict import Measurement

RANGE_SQUARES = 128
"""Train pictures, or tiles of them, at most, from which int8 takes its ranges."""
Look = dict[str, NDArray[np.float32]]
"""What the graph's core takes of one picture, or of one tile."""
LISTED = 10
"""Missing parts that an error names, at most."""


@dataclass(frozen=True, slots=True)
class Exported:
    """A bundle in another precision, and how it differs from the one it was made from, on tune pictures."""

    bundle: Bundle
    pictures: int
    mean_score_difference: float
    """In standard deviations of the good scores; the largest is in the card's `export_parity`."""


def export_precision(
    bundle: Bundle,
    precision: Precision,
    sources: Sequence[Path],
    out: Path,
    *,
    part_regex: str | None = None,
    watch: Watch = unwatched,
) -> Exported:
    """Write `bundle` in this precision to `out`; `sources` hold the pictures of the fit, found by their pixels.

    Raises SettingsError, BundleError, or DataError naming the parts whose pictures are missing. Too few calibration
    parts for the rate is not an error: the bundle is saved uncalibrated, as the one it was made from.
    """
    if out.exists():
        raise SettingsError(f"{out}: exists already; choose another folder")
    bundle.check_alone("another precision")
    card = bundle.card
    if card.precision != "fp32":
        raise BundleError(f"{bundle.path}: is in {card.precision} already; export from the fp32 bundle that fit wrote")
    scoring = detach_verdict(onnx.load(bundle.model))
    if not has_core(scoring):
        raise BundleError(f"{bundle.path}: its graph does not name the resized square, which this needs; fit again")
    sides = _find(bundle, sources, part_regex, need_train=precision == "int8", watch=watch)
    train, tune = ([picture.path for picture in sides[side]] for side in ("train", "tune"))
    watch(Progress(f"convert to {precision}", 0, 1))
    looks = _looks(card, _spread_out(train, RANGE_SQUARES), RANGE_SQUARES)
    scoring = with_precision(scoring, precision, (look[SQUARE] for look in looks))
    scoring = with_level_constants(scoring, _level_constants(scoring, _looks(card, tune)))
    watch(Progress(f"convert to {precision}", 1, 1))

    folder = out.with_name(f"{out.name}.partial")
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(bundle.path, folder, ignore=shutil.ignore_patterns(CARD, CORE, SIGNATURE))
    onnx.save(scoring, folder / MODEL)
    digest = file_digest(folder / MODEL)
    card = card.model_copy(
        update={
            "name": out.name,
            "created": utc_now(),
            "bundle_id": digest[:12],
            "precision": precision,
            "calibration": None,
            "checksums": {MODEL: digest},
        }
    )
    inspector = Inspector(Bundle(folder, card))
    before, after = (list(each.measure_all(tune)) for each in (Inspector(bundle), inspector))
    margin = parse_recipe(card.recipe, source=str(bundle.path)).verdict.gate_margin
    limit = max(item.distance for item in after) * (1 + margin)
    parity, mean_difference = _differences(before, after, bundle.card.good_spread)
    card = card.model_copy(
        update={
            "distance_limit": limit,
            # Of one or two pictures it says little, or is 0: then the unit stays that of the fp32 scores.
            "good_spread": float(np.std([item.score for item in after])) if len(after) > 2 else card.good_spread,
            "export_parity": parity,
        }
    )
    made = Bundle(folder, card)
    record_golden(made)
    calibration = sides["calibration"]
    parts, _ = measure_parts(Inspector(made), [p.path for p in calibration], [p.part for p in calibration], watch)
    card = card.model_copy(update={"calibration_parts": parts, "checksums": checksums(folder)})
    with contextlib.suppress(CalibrationError):  # saved uncalibrated: the card says what is missing
        card = card.calibrated(parts, *bundle.card.rule)
    save_bundle(folder, card)
    folder.rename(out)
    return Exported(open_bundle(out), len(tune), mean_difference)


def sides_in_force(bundle: Bundle) -> dict[str, str]:
    """Digest of a picture's pixels -> train, tune, or calibration where it calibrates now.

    A calibration from audit parts alone takes the place of that of the fit, whose parts need not be found then.
    """
    fitted, parts = fitted_digests(bundle), fitted_parts(bundle)
    if not any(parts.get(row.part) == "calibration" for row in bundle.card.calibration_parts):
        fitted = {digest: side for digest, side in fitted.items() if side != "calibration"}
    return fitted | dict.fromkeys(bundle.card.added_digests, "calibration")


def _find(
    bundle: Bundle, sources: Sequence[Path], part_regex: str | None, *, need_train: bool, watch: Watch
) -> dict[str, list[Picture]]:
    """The pictures of each side of the fit, by the digests of their pixels; further calibration parts, too."""
    side_of = sides_in_force(bundle)
    usual = bundle.card.part_regex
    candidates = [
        picture
        for source in sources
        for picture in find_pictures(source, label="good", part_regex=part_regex, usual_part_regex=usual)
    ]
    sides: dict[str, list[Picture]] = {"train": [], "tune": [], "calibration": []}
    missing = dict(side_of)
    for done, picture in enumerate(candidates):
        watch(Progress("find pictures of the fit", done, len(candidates)))
        with contextlib.suppress(ImageError):  # it was in no fit
            digest = pixel_digest(read_raw(picture.path))
            if digest in side_of:
                sides[side_of[digest]].append(picture)
                missing.pop(digest, None)
    watch(Progress("find pictures of the fit", len(candidates), len(candidates)))
    folders = ", ".join(str(source) for source in sources)
    for side in ("tune", "calibration"):
        count = sum(other == side for other in missing.values())
        if count:
            found = {picture.part for picture in sides[side]}
            names = [part for part, other in fitted_parts(bundle).items() if other == side and part not in found]
            listed = ", ".join(names[:LISTED]) + (f" and {len(names) - LISTED} more" if len(names) > LISTED else "")
            said = f": parts {listed}" if names else ""
            raise DataError(
                f"{folders}: {count} {side} pictures of the fit are missing{said}; give the folders that hold the "
                "pictures of the fit and of each later calibration, unchanged, with one --data each"
            )
    wanted = {row.part for row in bundle.card.calibration_parts}
    in_force = [picture for picture in sides["calibration"] if picture.part in wanted]
    if {picture.part for picture in in_force} == wanted:  # others calibrated earlier, and do no longer
        sides["calibration"] = in_force
    parts = {picture.part for picture in sides["calibration"]}
    if len(parts) != len(wanted):
        raise DataError(
            f"{folders}: the calibration pictures found make {len(parts)} parts, but {len(wanted)} calibrated "
            f"{bundle.path}; name the parts as in the fit, by --part-regex or manifest, and give each picture once"
        )
    if need_train and not sides["train"]:
        raise DataError(
            f"{folders}: none of the fit's train pictures is here, from which int8 takes its ranges; give the folder "
            "of the fit"
        )
    return sides


def _looks(card: Card, paths: Sequence[Path], most: int | None = None) -> Iterator[Look]:
    """What the core takes of each picture: its square, or the squares of its tiles.

    `most`: of tiles, at most so many altogether, but one of every picture; of each picture other ones.
    """
    image = card.image
    for number, path in enumerate(paths):
        pixels = read_image(path, full_scale=image.full_scale)
        if image.tiling is None:
            yield {SQUARE: to_square(pixels, image.geometry, image.size_px)[None]}
            continue
        tiles, rectangles = image.tiling.cut(image.geometry.part(pixels)), image.tiling.rectangles
        count = len(tiles) if most is None else max(1, min(len(tiles), most // len(paths)))
        for step in range(count):
            chosen = (number + step * len(tiles) // count) % len(tiles)
            square = to_square(tiles[chosen], Geometry(), image.size_px)
            yield {SQUARE: square[None], RECTANGLE: rectangles[chosen][None]}


def _spread_out(paths: list[Path], count: int) -> list[Path]:
    """Evenly, at most `count`."""
    return [paths[index] for index in np.unique(np.linspace(0, len(paths) - 1, count).astype(int))] if paths else []


def _level_constants(scoring: onnx.ModelProto, tune: Iterator[Look]) -> list[Constants]:
    """Each level's constants, changed until tune parts are standardised by this graph as by `Standardised.fit`."""
    names = level_maps(scoring)
    looking = core_of(scoring)
    looking.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    session = onnxruntime.InferenceSession(looking.SerializeToString(), providers=[CPU])
    maps = [session.run(names, look) for look in tune]
    constants = []
    for before, values in zip(level_constants(scoring), zip(*maps, strict=True), strict=True):
        level = np.concatenate(values).astype(np.float64)  # (pictures, h_l, w_l)
        counts = inside(scoring, *level.shape[1:])
        typical, mean, std = level[:, counts].mean(), before["mean"], before["std"]
        nll = np.abs(level - typical) if "typical" in before else level
        v = ((nll - mean) / std)[:, counts]
        spread = max(float(v.std(ddof=1)), 1e-6)
        constants.append({"typical": typical, "mean": mean + std * v.mean(), "std": std * spread})
    return constants


def _differences(
    before: Sequence[Measurement], after: Sequence[Measurement], spread: float
) -> tuple[dict[str, float], float]:
    """The largest differences on tune pictures, and the mean one of the scores, in the good scores' unit."""
    pairs = list(zip(before, after, strict=True))
    scores = [abs(one.score - other.score) / spread for one, other in pairs]
    maps = [float(np.abs(one.anomaly_map - other.anomaly_map).max()) / spread for one, other in pairs]
    distances = [abs(one.distance - other.distance) / one.distance_limit for one, other in pairs]
    parity = {"pictures": len(pairs), "score": max(scores), "anomaly_map": max(maps), "distance": max(distances)}
    return parity, float(np.mean(scores))
