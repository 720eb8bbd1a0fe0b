"""Bundle + folder -> one row per picture and one per part, on disk. Killed at any moment, it can go on.

run.json         which bundle, which folder, when
results.jsonl    the journal: one line per picture, written as it is judged; everything else is made from it
results.csv      the same rows as a table (or results.parquet)
parts.csv        one row per part: its worst picture decides
overlays/ masks/ at the pictures' original size, where asked for
"""

from __future__ import annotations

import csv
import io
import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from defectflow.bundle import Card
from defectflow.common import Progress, Watch, atomic_write, cell, unwatched, utc_now
from defectflow.data import Picture, printable
from defectflow.errors import DataError, ImageError, SettingsError
from defectflow.image import read_image
from defectflow.line.inspector import Inspector
from defectflow.line.journal import JOURNAL, RUN, Part, Row, Run, gather_parts, read_journal, read_run
from defectflow.verdict import Measurement, Verdict, overlay

TABLE, PARTS, OVERLAYS, MASKS = "results", "parts.csv", "overlays", "masks"
UNJUDGED = "not judged"
Format = Literal["csv", "jsonl", "parquet"]
Record = Callable[[Picture, str, Verdict | ImageError], object]
"""Also keeps a verdict elsewhere: the picture, its name in the results, and what came of it."""


@dataclass(frozen=True, slots=True)
class Tally:
    """What a run has found, counted over pictures and over parts."""

    pictures: dict[str, int]
    parts: dict[str, int]
    failed: tuple[tuple[str, str], ...]
    """(file, reason) of pictures that could not be used."""


def score_folder(
    inspector: Inspector,
    pictures: Sequence[Picture],
    source: Path,
    out: Path,
    *,
    table: Format = "csv",
    overlays: bool = False,
    masks: bool = False,
    scores_only: bool = False,
    resume: bool = False,
    record: Record | None = None,
    watch: Watch = unwatched,
) -> Tally:
    """Judge every picture of a folder into `out`. Unreadable pictures become rows; nothing is ever judged twice.

    With `scores_only` there are scores and no verdicts, which an uncalibrated bundle can give, too. What `record` is
    given it has kept before the journal says so: a kill in between makes it meet that picture again, never miss it.
    Raises NotCalibrated, SettingsError where `out` holds other results, DataError where results cannot be written.
    """
    judge = inspector.measure if scores_only else inspector.inspect
    if not scores_only:
        inspector.card.require_calibration()
    elif overlays or masks:
        raise SettingsError("overlays and masks need thresholds; leave them out, or leave --scores-only out")
    elif record is not None:
        raise SettingsError("a store keeps verdicts; leave --store out, or leave --scores-only out")
    if table == "parquet":
        check_parquet()
    # Where results lie in the scored folder, the overlays of an earlier run are not pictures to judge.
    pictures = [picture for picture in pictures if not _is_drawn(picture.path)]
    run = Run(
        bundle=str(inspector.bundle.path.resolve()),
        runs_on=inspector.runs_on,
        card=inspector.card,
        source=str(_absolute(source if source.is_dir() else source.parent)),
        started=utc_now(),
        pictures=len(pictures),
        scores_only=scores_only,
        overlays=overlays,
        masks=masks,
    )
    out.mkdir(parents=True, exist_ok=True)
    names = {picture.path: _relative(picture.path, Path(run.source)) for picture in pictures}
    run, done = _continue(out, run, {names[p.path]: p.part for p in pictures}) if resume else (_begin(out, run), set())
    left = [picture for picture in pictures if names[picture.path] not in done]
    started = time.perf_counter()
    try:
        with (out / JOURNAL).open("a", encoding="utf-8", newline="\n") as journal:
            seen = judge([picture.path for picture in left])
            for count, (picture, item) in enumerate(zip(left, seen, strict=True), start=1):
                name = names[picture.path]
                if isinstance(item, Verdict):
                    try:
                        _draw(out, name, picture.path, item, inspector, overlays, masks)
                    except ImageError as error:  # moved away since it was judged
                        item = error
                if record is not None and isinstance(item, Verdict | ImageError):
                    record(picture, name, item)
                # Drawn first, so that a row in the journal means that everything of that picture is there.
                journal.write(row_of(name, picture, item, inspector.card).model_dump_json() + "\n")
                journal.flush()
                rate = count / (time.perf_counter() - started)
                watch(Progress("score", len(done) + count, len(pictures), f"{rate:.1f} pictures/s"))
        rows, _ = read_journal(out / JOURNAL)
        parts = gather_parts(rows)
        _write_table(out, rows, table)
        _replace(out / PARTS, as_csv([_part_row(part) for part in parts]))
        _replace(out / RUN, run.model_copy(update={"finished": utc_now()}).model_dump_json(indent=2))
    except OSError as error:
        raise DataError(
            f"{out}: results cannot be written ({error.strerror or error}); what was judged is kept: make room, "
            "then go on with --resume"
        ) from error
    return Tally(
        dict(Counter(row.decision or UNJUDGED for row in rows)),
        dict(Counter(part.decision or UNJUDGED for part in parts)),
        tuple((row.file, row.error) for row in rows if row.error is not None),
    )


def check_parquet() -> None:
    """Raises SettingsError where pyarrow is not installed: before the work, not after it."""
    try:
        import pyarrow  # noqa: F401
    except ImportError as error:
        raise SettingsError("--format parquet needs pyarrow: pip install 'defectflow[parquet]', or use csv") from error


def row_of(name: str, picture: Picture, item: Measurement | ImageError, card: Card) -> Row:
    """One picture's line of the results."""
    known: dict[str, Any] = {
        "file": name,
        "part": picture.part,
        "label": picture.label,
        "kind": picture.kind or None,
        "more": dict(picture.more),
        "bundle_id": card.bundle_id,
        "calibration_id": card.calibration_id,
    }
    if isinstance(item, ImageError):
        return Row(**known, decision="error", error=printable(str(item)))
    known |= {
        "score": item.score,
        "distance": item.distance,
        "distance_limit": item.distance_limit,
        "milliseconds": round(item.milliseconds, 3),
        "sha256": item.sha256,
    }
    if not isinstance(item, Verdict):
        return Row(**known, decision=None)
    return Row(
        **known,
        decision=item.decision.word,
        p_value=item.p_value,
        threshold=item.threshold,
        review_threshold=item.review_threshold,
        regions=tuple(asdict(region) for region in item.regions()),
        mask_is_top_fraction=item.mask_is_top_fraction,
    )


def _part_row(part: Part) -> dict[str, Any]:
    """A part as its worst picture makes it."""
    worst = part.worst
    copied = ("decision", "score", "p_value", "threshold", "bundle_id", "calibration_id")
    return {
        "part": part.name,
        **{name: getattr(worst, name) for name in copied},
        "worst_file": worst.file,
        "pictures": len(part.rows),
        "errors": sum(row.decision == "error" for row in part.rows),
    }


def _begin(out: Path, run: Run) -> Run:
    if (out / RUN).exists():
        raise SettingsError(f"{out}: holds results already; go on with --resume, or choose another --out")
    (out / JOURNAL).write_bytes(b"")
    _replace(out / RUN, run.model_dump_json(indent=2))
    return run


def _continue(out: Path, run: Run, parts: dict[str, str]) -> tuple[Run, set[str]]:
    """The earlier run's header, and the files it has judged. A last line cut short by a kill is dropped.

    `parts` says which part each file shows, now. Raises SettingsError where the two runs do not belong together.
    """
    if not (out / RUN).is_file():
        raise SettingsError(f"{out}: nothing to resume here (it has no {RUN}); leave --resume out")
    earlier = read_run(out / RUN)
    for what, before, now in (
        ("folder", earlier.source, run.source),
        ("bundle", earlier.card.bundle_id, run.card.bundle_id),
        ("calibration", earlier.card.calibration_id, run.card.calibration_id),
        ("provider", earlier.runs_on, run.runs_on),
        ("choice of --scores-only", earlier.scores_only, run.scores_only),
        ("choice of --overlays", earlier.overlays, run.overlays),
        ("choice of --masks", earlier.masks, run.masks),
    ):
        if before != now:
            raise SettingsError(
                f"{out}: holds results of another {what} ({before}, not {now}); mixing them would be wrong: "
                "choose another --out"
            )
    rows, _ = read_journal(out / JOURNAL)
    for row in rows:
        if parts.get(row.file, row.part) != row.part:
            raise SettingsError(
                f"{out}: {row.file} was judged as part {row.part!r} and is {parts[row.file]!r} now; use the same "
                "--part-regex, or choose another --out"
            )
    run = earlier.model_copy(update={"pictures": run.pictures, "finished": None})
    _replace(out / RUN, run.model_dump_json(indent=2))
    _replace(out / JOURNAL, "".join(row.model_dump_json() + "\n" for row in rows))
    return run, {row.file for row in rows}


def _is_drawn(path: Path) -> bool:
    """Whether a picture is an overlay or a mask that a run has written beside its results."""
    return any(folder.name in (OVERLAYS, MASKS) and (folder.parent / RUN).is_file() for folder in path.parents)


def _draw(
    out: Path, name: str, path: Path, verdict: Verdict, inspector: Inspector, overlays: bool, masks: bool
) -> None:
    """PNG files under the picture's own relative name."""
    name = str(Path(name).relative_to(Path(name).anchor))  # a manifest's picture elsewhere: nothing is written there
    if overlays:
        pixels = read_image(path, full_scale=inspector.card.image.full_scale)
        _save_png(out / OVERLAYS / f"{name}.png", overlay(pixels, verdict))
    if masks:
        _save_png(out / MASKS / f"{name}.png", verdict.mask_at_full_size().astype(np.uint8) * 255)


def _save_png(path: Path, pixels: np.ndarray[Any, np.dtype[np.uint8]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def _write_table(out: Path, rows: Sequence[Row], table: Format) -> None:
    """The journal's rows as one table, regions as JSON text; `jsonl` is the journal itself."""
    if table == "jsonl":
        return
    flat = flatten(rows)
    if table == "csv":
        _replace(out / f"{TABLE}.csv", as_csv(flat))
        return
    import pyarrow
    import pyarrow.parquet

    with atomic_write(out / f"{TABLE}.parquet") as partial:
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(flat), partial)


def flatten(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """Rows for a table: regions as JSON text, and a manifest's other columns behind ours."""
    rows = list(rows)
    own = set(Row.model_fields)
    others = dict.fromkeys(column for row in rows for column in row.more)
    named = {column: f"manifest.{column}" if column in own else column for column in others}
    return [
        row.model_dump(mode="json", exclude={"more"})
        | {"regions": json.dumps(row.regions)}
        | {named[column]: row.more.get(column, "") for column in others}
        for row in rows
    ]


def as_csv(rows: list[dict[str, Any]]) -> str:
    """A table as CSV text, in which no name is run as a formula."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]) if rows else ["file"], lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: cell(value) for name, value in row.items()} for row in rows)
    return text.getvalue()


def _replace(path: Path, text: str) -> None:
    """Write a whole file or none."""
    with atomic_write(path) as partial:
        partial.write_text(text, encoding="utf-8", newline="\n")


def _relative(path: Path, base: Path) -> str:
    """Relative to the scored folder, with forward slashes; a manifest may point outside it."""
    path = _absolute(path)
    return printable(path.relative_to(base).as_posix() if path.is_relative_to(base) else path.as_posix())


def _absolute(path: Path) -> Path:
    """Not resolved: two links to one file are two pictures."""
    return Path(os.path.abspath(path))  # noqa: PTH100
