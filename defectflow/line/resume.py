"""Results that are there already -> what of them still holds. A picture is known by its bytes, not by its name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from defectflow.bundle import file_digest
from defectflow.common import Progress, Watch, write_whole
from defectflow.errors import SettingsError
from defectflow.line.journal import JOURNAL, RUN, Row, Run, Stamp, read_journal, read_run, write_journal


def check_empty(out: Path) -> None:
    """Raises SettingsError where `out` holds results."""
    if (out / RUN).exists():
        raise SettingsError(
            f"{out}: holds results already; continue with --resume and the options that it was begun with, or choose "
            "another --out"
        )


def begin(out: Path, run: Run) -> Run:
    """A new run's header and empty journal. Raises SettingsError where `out` holds results."""
    check_empty(out)
    (out / JOURNAL).write_bytes(b"")
    write_whole(out / RUN, run.model_dump_json(indent=2))
    return run


def go_on(
    out: Path, run: Run, parts: Mapping[str, str], paths: Mapping[str, Path], watch: Watch
) -> tuple[Run, dict[str, Row], set[str]]:
    """The earlier run's header, its rows by file, and the files of which these still hold.

    A last line cut short by a kill is dropped. `parts` and `paths` say which part each file shows, now, and where it
    lies. Raises SettingsError where the two runs do not belong together.
    """
    earlier = earlier_run(out, run)
    rows, _ = read_journal(out / JOURNAL)
    for row in rows:
        if parts.get(row.file, row.part) != row.part:
            raise SettingsError(
                f"{out}: {row.file} was judged as part {row.part!r} and is {parts[row.file]!r} now; use the same "
                "--part-regex, or choose another --out"
            )
    known, holding = dict[str, Row](), set[str]()
    for done, row in enumerate(rows, start=1):
        row_now = still_holds(row, paths[row.file]) if row.file in paths else row  # gone: it was judged all the same
        known[row.file] = row_now or row
        if row_now is not None:
            holding.add(row.file)
        watch(Progress("look for changes", done, len(rows)))
    run = earlier.model_copy(update={"pictures": run.pictures, "finished": None})
    write_whole(out / RUN, run.model_dump_json(indent=2))
    write_journal(out / JOURNAL, known.values())
    return run, known, holding


def earlier_run(out: Path, run: Run) -> Run:
    """What `out` holds. Raises SettingsError where that is nothing, or where the runs may not mix their results."""
    if not (out / RUN).is_file():
        raise SettingsError(f"{out}: nothing to resume here (it has no {RUN}); leave --resume out")
    earlier = read_run(out / RUN)
    _check_alike(out, earlier, run)
    return earlier


def _check_alike(out: Path, earlier: Run, run: Run) -> None:
    for what, before, now in (
        ("folder", earlier.source, run.source),
        ("bundle", earlier.card.bundle_id, run.card.bundle_id),
        ("calibration", earlier.card.calibration_id, run.card.calibration_id),
        ("products", _ids(earlier), _ids(run)),
        ("provider", earlier.runs_on, run.runs_on),
    ):
        if before != now:
            raise SettingsError(
                f"{out}: holds results of another {what} ({before}, not {now}), and a folder holds one run; choose the "
                "same again to resume it, or choose another --out"
            )
    for option, was_given, is_given in (
        ("--ray", earlier.shards is not None, run.shards is not None),
        ("--scores-only", earlier.scores_only, run.scores_only),
        ("--overlays", earlier.overlays, run.overlays),
        ("--masks", earlier.masks, run.masks),
        ("--store", run.recorded if earlier.recorded is None else earlier.recorded, run.recorded),
    ):
        if was_given != is_given:
            began, remedy = ("with", f"add {option}") if was_given else ("without", f"leave {option} out")
            raise SettingsError(
                f"{out}: its run was begun {began} {option}; {remedy} to resume it, or choose another --out"
            )


def _ids(run: Run) -> dict[str, tuple[str, str | None]]:
    return {name: (card.bundle_id, card.calibration_id) for name, card in run.products.items()}


def still_holds(row: Row, path: Path) -> Row | None:
    """The row, with the file's stamp of now, if it is about the bytes that lie there; None: to be judged again.

    What could not be read, or not be drawn, may have been mended since, though not a byte of the picture is another.
    """
    if row.error is not None or row.output_error is not None:
        return None
    stamp = Stamp.of(path)
    if stamp is None or row.sha256 is None:
        return None
    if stamp == row.stamp:
        return row
    if row.size_bytes is not None and row.size_bytes != stamp.size_bytes:
        return None
    try:
        same = file_digest(path) == row.sha256
    except OSError:
        return None
    changed = {"size_bytes": stamp.size_bytes, "modified_ns": stamp.modified_ns}
    return row.model_copy(update=changed) if same else None
