"""Does this bundle, on this machine, still give what it gave where it was made? Files first, then verdicts.

Golden pictures are compared with what was recorded; with pictures of the user's own, every backend is compared
with the calibrated graph on this machine's CPU. Whatever could change a verdict is varied: how a picture is stored,
its size, the batch that it stands in, its place in the order, the execution provider.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

import numpy as np

from defectflow.bundle import CARD, Bundle, Card, check_file
from defectflow.common import Progress, Watch, unwatched, utc_now
from defectflow.errors import BundleError, ImageError
from defectflow.line.certificate import Certificate, this_machine
from defectflow.line.comparison import BackendTally, Reference
from defectflow.line.golden import NATIVE, Golden, decoded, read_golden
from defectflow.line.inspector import BATCH_PICTURES, Inspector
from defectflow.line.providers import CPU, find_providers, present_providers, short_name
from defectflow.verdict import Calibration, decide, is_gated

BATCHES = (1, 3, BATCH_PICTURES)
LOSSY_TOLERANCE = 0.05
"""The least tolerance for a JPEG picture that this machine decodes to other pixels than the one that recorded it.

Exact decoders (integer or floating-point DCT) differ by a grey level or two, which moved scores by up to 0.04. Decoders
that take short cuts (`fast` DCT, no smoothing) moved them by up to 0.4: too far to be left unsaid.
"""
TIMED_PICTURES = 40


@dataclass(frozen=True, slots=True)
class Backend:
    """One way to run a bundle: a name for the table, and what runs it."""

    name: str
    inspector: Inspector


def open_backends(
    bundle: Bundle, providers: Sequence[str] = (), core: bool | None = None, threads: int = 0
) -> tuple[list[Backend], list[str]]:
    """Every way to run a bundle here, each provider with the whole graph and with its core; notes on those left out.

    `core`: True for the core only, False for the whole graph only. Raises BundleError if the CPU cannot run what
    the bundle has, or a provider that was asked for none of it; without `providers`, those that start are taken.
    """
    graphs = [core] if core is not None else [False, True] if bundle.has_core() else [False]
    backends, notes = list[Backend](), list[str]()
    for provider in find_providers(providers) or present_providers():
        failed = list[BundleError]()
        for cut in graphs:
            name = f"{short_name(provider)}, core" if cut else short_name(provider)
            try:
                inspector = Inspector(bundle, providers=[provider], threads=threads, core=cut)
            except BundleError as error:
                failed.append(error)
            else:
                backends.append(Backend(name, inspector))
        if failed and (provider == CPU or (providers and len(failed) == len(graphs))):
            raise failed[0]
        notes.extend(str(error) for error in failed)
    return backends, notes


def verify(
    bundle: Bundle,
    *,
    providers: Sequence[str] = (),
    core: bool | None = None,
    images: Sequence[Path] = (),
    tolerance: float | None = None,
    threads: int = 0,
    quick: bool = False,
    signed_by: str | None = None,
    watch: Watch = unwatched,
) -> Certificate:
    """Compare every file with the card, then verdicts with the record and, on `images`, with the calibrated graph.

    `providers` and `core` choose the ways to run it, as in `open_backends`. `tolerance` is in standard deviations of
    the good scores, by default the card's. `quick` looks at each golden picture once, alone, and times nothing.
    `signed_by` is only noted.

    Raises BundleError for a file that is missing or not the one the card describes, and for a provider that was asked
    for and cannot run.
    """
    tolerance = bundle.card.tolerance if tolerance is None else tolerance
    for name in bundle.card.checksums:
        if name != CARD:  # checked when it was opened
            check_file(bundle.path, name, bundle.card)
    golden = read_golden(bundle)
    backends, notes = open_backends(bundle, providers, core, threads)
    lossy, problems = _decoding(bundle, golden)
    if lossy:
        notes.append(
            f"this machine decodes {', '.join(lossy)} to slightly different pixels, as JPEG decoders may; for these "
            f"pictures differences up to {LOSSY_TOLERANCE:g} standard deviations are allowed"
        )
    native = [each.file for each in golden if each.file.name.startswith(NATIVE)]
    compared: list[tuple[BackendTally, Sequence[Path]]]
    compared = [(tally, native) for tally in _on_golden(bundle, golden, lossy, backends, tolerance, quick, watch)]
    if images:
        reference = Inspector(bundle, threads=threads, batch=1)
        compared += [(tally, images) for tally in _on_images(reference, images, backends, tolerance, watch)]
    rows = []
    inspectors = {backend.name: backend.inspector for backend in backends}
    for tally, files in compared:
        rows.append(tally.row(None if quick else _p95_ms(inspectors[tally.backend], files)))
        if problem := tally.problem(tolerance):
            problems.append(f"{problem}; {_remedy(tally)}")
    return Certificate(
        bundle=bundle.card.name,
        bundle_id=bundle.card.bundle_id,
        calibration_id=bundle.card.calibration_id,
        precision=bundle.card.precision,
        created=utc_now(),
        machine=this_machine(),
        passed=not problems,
        tolerance=tolerance,
        checksums=bundle.card.checksums,
        signed_by=signed_by,
        comparisons=tuple(rows),
        notes=tuple(notes),
        problems=tuple(problems),
    )


def _remedy(tally: BackendTally) -> str:
    if tally.flipped:
        return "choose other ways to run it with --provider and --core"
    if tally.compared:
        return "accept that with --tolerance, or choose other ways to run it with --provider and --core"
    return "give others"


def _decoding(bundle: Bundle, golden: Sequence[Golden]) -> tuple[list[str], list[str]]:
    """Golden files that this machine decodes to other pixels: lossy ones, by name, and for lossless ones a problem."""
    lossy, problems = [], []
    for each in golden:
        if each.record is None:
            continue
        try:
            same = decoded(bundle, each.file) == each.record.pixels
        except ImageError as error:
            problems.append(f"{error}; update Pillow and OpenCV")
            continue
        if not same and each.lossy:
            lossy.append(each.file.name)
        elif not same:
            problems.append(
                f"{each.file.name}: is lossless but decodes to different pixels here; update Pillow and OpenCV"
            )
    return lossy, problems


def _on_golden(
    bundle: Bundle,
    golden: Sequence[Golden],
    lossy: Sequence[str],
    backends: Sequence[Backend],
    tolerance: float,
    quick: bool,
    watch: Watch,
) -> Iterator[BackendTally]:
    """Each backend against the record, in several batch sizes and orders."""
    calibration = bundle.card.require_calibration() if bundle.card.calibration else None
    for backend in backends:
        tally = BackendTally(backend.name, "golden", bundle.card, calibration)
        runs = [(batch, order) for batch in BATCHES for order in (golden, golden[::-1])]
        runs = runs[:1] if quick else runs
        for done, (batch, order) in enumerate(runs):
            items = backend.inspector.in_batches_of(batch).look([each.file for each in order])
            for each, item in zip(order, items, strict=True):
                allowed = max(tolerance, LOSSY_TOLERANCE) if each.file.name in lossy else tolerance
                tally.add(each.file.name, _recorded(each, bundle.card, calibration), item, allowed)
            watch(Progress(f"golden on {backend.name}", done + 1, len(runs)))
        yield tally


def _recorded(golden: Golden, card: Card, calibration: Calibration | None) -> Reference | None:
    """What a golden picture must give under the thresholds of today; None: it must be refused."""
    if golden.record is None or golden.anomaly_map is None:
        return None
    score, distance = golden.record.score, golden.record.distance
    decision = None
    if calibration is not None:
        gated = is_gated(distance, card.distance_limit)
        decision = decide(score, calibration.threshold.value, calibration.review.value, gated=gated)
    return Reference(score, distance, decision, golden.anomaly_map)


def _on_images(
    reference: Inspector, images: Sequence[Path], backends: Sequence[Backend], tolerance: float, watch: Watch
) -> list[BackendTally]:
    """All backends in batches, against the calibrated graph on the CPU picture by picture; side by side."""
    card = reference.card
    calibration = card.require_calibration() if card.calibration else None
    tallies = [BackendTally(backend.name, "images", card, calibration) for backend in backends]
    expected = reference.look(images)
    others = [backend.inspector.look(images) for backend in backends]
    for done, (path, was, *items) in enumerate(zip(images, expected, *others, strict=True)):
        known = None if isinstance(was, ImageError) else Reference.of(was)
        for tally, item in zip(tallies, items, strict=True):
            tally.add(str(path), known, item, tolerance)
        watch(Progress("your pictures", done + 1, len(images)))
    return tallies


def _p95_ms(inspector: Inspector, files: Sequence[Path]) -> float:
    """From file to verdict, one picture at a time, after one that warms up: 95% take at most this."""
    took = []
    for file in islice(cycle(files), TIMED_PICTURES + 1):
        started = time.perf_counter()
        list(inspector.look([file]))
        took.append(1000 * (time.perf_counter() - started))
    return float(np.percentile(took[1:], 95))
