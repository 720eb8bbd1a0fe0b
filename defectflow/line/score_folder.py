"""Bundle + folder -> one row per picture and one per part, on disk. Killed at any moment, it can be resumed.

run.json         which bundle, which folder, when
results.jsonl    the journal: one line per picture, written as it is judged; everything else is made from it
results.csv      the same rows as a table (or results.parquet)
parts.csv        one row per part: its worst picture decides
overlays/ masks/ at the pictures' original size, where asked for
run.lock         while a run is at work here
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from defectflow.common import Progress, Watch, claimed, remedy, unwatched, utc_now, write_whole
from defectflow.data import Picture, printable
from defectflow.errors import DataError, ImageError, SettingsError
from defectflow.image import PictureForm
from defectflow.line.drawn import OutputError, draw, is_drawn
from defectflow.line.inspector import Inspector
from defectflow.line.journal import JOURNAL, RUN, Row, Run, Stamp, gather_parts, read_journal, write_journal
from defectflow.line.resume import begin, go_on
from defectflow.line.tables import Format, check_parquet, row_of, write_tables
from defectflow.verdict import Measurement, Verdict

LOCK = "run.lock"
UNJUDGED = "not judged"
Record = Callable[[Picture, str, Verdict | ImageError, bool], object]
"""Also keeps a verdict elsewhere: the picture, its name in the results, what came of it, and whether an earlier look of
this run at the same name found nothing that could be read."""


@dataclass(frozen=True, slots=True)
class Tally:
    """What a run has found, counted over pictures and over parts."""

    pictures: dict[str, int]
    parts: dict[str, int]
    failed: tuple[tuple[str, str], ...]
    """(file, reason) of pictures that could not be used, or whose overlay or mask could not be written."""
    again: int = 0
    """Pictures judged before whose file has changed since, or that could not be used."""
    unlike: tuple[tuple[str, PictureForm], ...] = ()
    """Files whose size, colour or depth is that of no calibration picture, as far as the card knows these."""
    reasons: dict[str, int] = field(default_factory=dict)
    """Of the invalid pictures, so many show a gross defect, and so many are wrong pictures."""


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
    """Judge every picture of a folder into `out`. Unreadable pictures become rows; no verdict is given twice.

    To resume is to judge what has no row yet, what could not be used, and files that have changed since.
    With `scores_only` there are scores and no verdicts, which an uncalibrated bundle can give, too. What `record` is
    given it has kept before the journal says so: a kill in between makes it meet that picture again, never miss it.
    Raises NotCalibrated, SettingsError where `out` holds other results or another run is at work there, DataError
    where results cannot be written.
    """
    if not scores_only:
        inspector.card.require_calibration()
    elif overlays or masks:
        raise SettingsError("overlays and masks need thresholds; leave them out, or leave --scores-only out")
    elif record is not None:
        raise SettingsError("a store keeps verdicts; leave --store out, or leave --scores-only out")
    if table == "parquet":
        check_parquet()
    # Where results lie in the scored folder, the overlays of an earlier run are not pictures to judge.
    pictures = [picture for picture in pictures if not is_drawn(picture.path)]
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
        recorded=record is not None,
    )
    names = {picture.path: _relative(picture.path, Path(run.source)) for picture in pictures}
    try:
        out.mkdir(parents=True, exist_ok=True)
        with claimed(out, out / LOCK):
            known, holding = dict[str, Row](), set[str]()
            if resume:
                parts = {names[picture.path]: picture.part for picture in pictures}
                run, known, holding = go_on(out, run, parts, {name: path for path, name in names.items()}, watch)
            else:
                run = begin(out, run)
            left = [picture for picture in pictures if names[picture.path] not in holding]
            _judge(inspector, left, names, out, run, known, len(pictures), record, watch)
            rows, _ = read_journal(out / JOURNAL)
            again = sum(names[picture.path] in known for picture in left)
            if again:
                write_journal(out / JOURNAL, rows)  # one line per picture, the one that counts
            write_tables(out, rows, table)
            unlike = [(row.file, form) for row in rows if (form := row.form) and inspector.card.is_unlike(form)]
            known_forms = bool(inspector.card.calibration_forms)
            ended = {"finished": utc_now(), "unlike": len(unlike) if known_forms else None}
            write_whole(out / RUN, run.model_copy(update=ended).model_dump_json(indent=2))
    except OSError as error:
        raise DataError(
            f"{out}: results cannot be written ({error.strerror or error}); what was judged is kept: {remedy(error)}, "
            "then go on with --resume"
        ) from error
    return Tally(
        dict(Counter(row.decision or UNJUDGED for row in rows)),
        dict(Counter(part.decision or UNJUDGED for part in gather_parts(rows))),
        tuple((row.file, reason) for row in rows if (reason := row.error or row.output_error) is not None),
        again,
        tuple(unlike),
        dict(Counter(row.reason for row in rows if row.reason is not None)),
    )


def _judge(
    inspector: Inspector,
    left: Sequence[Picture],
    names: dict[Path, str],
    out: Path,
    run: Run,
    known: dict[str, Row],
    total: int,
    record: Record | None,
    watch: Watch,
) -> None:
    """Each picture that is left becomes a line of the journal, as soon as all that belongs to it is there."""
    judge = inspector.measure if run.scores_only else inspector.inspect
    stamps = dict[Path, Stamp | None]()

    def paths() -> Iterator[Path]:
        for picture in left:
            stamps[picture.path] = Stamp.of(picture.path)  # before it is read: a change in between shows later
            yield picture.path

    started, before = time.perf_counter(), total - len(left)
    with (out / JOURNAL).open("a", encoding="utf-8", newline="\n") as journal:
        for count, (picture, item) in enumerate(zip(left, judge(paths()), strict=True), start=1):
            name = names[picture.path]
            seen, output_error = _drawn(out, name, picture, item, inspector, run)
            if record is not None and isinstance(seen, Verdict | ImageError):
                earlier = known.get(name)
                if earlier is None or not _is_told(earlier, seen):
                    record(picture, name, seen, earlier is not None and earlier.error is not None)
            # Drawn first, so that a row in the journal means that everything of that picture was tried.
            row = row_of(name, picture, seen, inspector.card, stamps.pop(picture.path), output_error)
            journal.write(row.model_dump_json() + "\n")
            journal.flush()
            rate = count / (time.perf_counter() - started)
            watch(Progress("score", before + count, total, f"{rate:.1f} pictures/s"))


def _drawn(
    out: Path, name: str, picture: Picture, item: Measurement | ImageError, inspector: Inspector, run: Run
) -> tuple[Measurement | ImageError, str | None]:
    """What came of a picture once its overlay and mask are there; and why they are not, where the disk refuses them."""
    if not isinstance(item, Verdict):
        return item, None
    full_scale = inspector.card.image.full_scale
    try:
        draw(out, name, picture.path, item, full_scale, overlays=run.overlays, masks=run.masks)
    except ImageError as error:  # moved away since it was judged
        return error, None
    except OutputError as error:
        return item, str(error)
    return item, None


def _is_told(earlier: Row, item: Verdict | ImageError) -> bool:
    """Whether the run has recorded this very result already, and looks again for other reasons."""
    if isinstance(item, ImageError):
        return earlier.error == printable(str(item))
    return earlier.sha256 is not None and earlier.sha256 == item.sha256


def _relative(path: Path, base: Path) -> str:
    """Relative to the scored folder, with forward slashes; a manifest may point outside it."""
    path = _absolute(path)
    return printable(path.relative_to(base).as_posix() if path.is_relative_to(base) else path.as_posix())


def _absolute(path: Path) -> Path:
    """Not resolved: two links to one file are two pictures."""
    return Path(os.path.abspath(path))  # noqa: PTH100
