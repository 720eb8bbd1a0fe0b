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
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from defectflow.common import Progress, Watch, claimed, remedy, unwatched, utc_now, write_whole
from defectflow.data import Picture, printable
from defectflow.errors import DataError
from defectflow.image import PictureForm
from defectflow.line.drawn import is_drawn
from defectflow.line.inspector import Inspector
from defectflow.line.journal import (
    JOURNAL,
    LOCK,
    RUN,
    UNJUDGED,
    Row,
    Run,
    count_by_product,
    gather_parts,
    read_journal,
    write_journal,
)
from defectflow.line.judge import Record, check_wanted, judge
from defectflow.line.products import check_products
from defectflow.line.resume import begin, go_on
from defectflow.line.tables import Format, check_parquet, write_tables


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
    by_product: dict[str, dict[str, int]] = field(default_factory=dict)
    """Parts of each product by decision, where rows name products."""


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
    cards = [each.card for each in inspector.bundles]
    check_wanted(cards, scores_only=scores_only, drawn=overlays or masks, recorded=record is not None)
    check_products(inspector, pictures, source)
    if table == "parquet":
        check_parquet()
    # Where results lie in the scored folder, the overlays of an earlier run are not pictures to judge.
    pictures = [picture for picture in pictures if not is_drawn(picture.path)]
    run = Run(
        bundle=str(inspector.path.resolve()),
        runs_on=inspector.runs_on,
        card=inspector.bundles[0].card,
        products={str(each.product): each.card for each in inspector.bundles} if inspector.is_open else {},
        source=str(absolute(source if source.is_dir() else source.parent)),
        started=utc_now(),
        pictures=len(pictures),
        scores_only=scores_only,
        overlays=overlays,
        masks=masks,
        recorded=record is not None,
    )
    names = {picture.path: relative_name(picture.path, Path(run.source)) for picture in pictures}
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
            _keep(inspector, left, names, out, run, known, len(pictures), record, watch)
            rows, _ = read_journal(out / JOURNAL)
            again = sum(names[picture.path] in known for picture in left)
            if again:
                write_journal(out / JOURNAL, rows)  # one line per picture, the one that counts
            write_tables(out, rows, table)
            unlike = [
                (row.file, form)
                for row in rows
                if (form := row.form) and inspector.card_of(row.product).is_unlike(form)
            ]
            known_forms = all(each.card.calibration_forms for each in inspector.bundles)
            ended = {"finished": utc_now(), "unlike": len(unlike) if known_forms else None}
            write_whole(out / RUN, run.model_copy(update=ended).model_dump_json(indent=2))
    except OSError as error:
        raise DataError(
            f"{out}: results cannot be written ({error.strerror or error}); what was judged is kept: {remedy(error)}, "
            "then go on with --resume"
        ) from error
    of_parts = gather_parts(rows)
    return Tally(
        dict(Counter(row.decision or UNJUDGED for row in rows)),
        dict(Counter(part.decision or UNJUDGED for part in of_parts)),
        tuple((row.file, reason) for row in rows if (reason := row.error or row.output_error) is not None),
        again,
        tuple(unlike),
        dict(Counter(row.reason for row in rows if row.reason is not None)),
        count_by_product(of_parts),
    )


def _keep(
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
    started, before = time.perf_counter(), total - len(left)
    named = ((names[picture.path], picture) for picture in left)
    with (out / JOURNAL).open("a", encoding="utf-8", newline="\n") as journal:
        for count, row in enumerate(judge(inspector, named, out, run, known, record), start=1):
            journal.write(row.model_dump_json() + "\n")
            journal.flush()
            rate = count / (time.perf_counter() - started)
            watch(Progress("score", before + count, total, f"{rate:.1f} pictures/s"))


def relative_name(path: Path, base: Path) -> str:
    """Relative to the scored folder, with forward slashes; a manifest may point outside it."""
    path = absolute(path)
    return printable(path.relative_to(base).as_posix() if path.is_relative_to(base) else path.as_posix())


def absolute(path: Path) -> Path:
    """Not resolved: two links to one file are two pictures."""
    return Path(os.path.abspath(path))  # noqa: PTH100
