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
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from defectflow.dataset import Picture
from defectflow.errors import DataError, ImageError, SettingsError
from defectflow.runtime.card import Card
from defectflow.runtime.image import read_image
from defectflow.runtime.inspector import Inspector
from defectflow.runtime.overlay import overlay
from defectflow.runtime.progress import Progress, Watch, unwatched
from defectflow.runtime.verdict import Decision, Verdict

RUN, JOURNAL, PARTS = "run.json", "results.jsonl", "parts.csv"
Format = Literal["csv", "jsonl", "parquet"]
Row = dict[str, Any]
ERROR = "error"
"""Stands in the decision's place for a picture that could not be used."""
SEVERITY = {decision.word: int(decision) for decision in Decision} | {ERROR: -1}


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
    resume: bool = False,
    watch: Watch = unwatched,
) -> Tally:
    """Judge every picture of a folder into `out`. Unreadable pictures become rows; nothing is ever judged twice.

    Raises NotCalibrated, SettingsError where `out` holds other results, DataError where results cannot be written.
    """
    inspector.card.judge()
    names = {picture.path: _relative(picture.path, source) for picture in pictures}
    run = {
        "bundle": str(inspector.bundle.path.resolve()),
        "card": inspector.card.model_dump(mode="json"),
        "source": str(source.resolve()),
        "started": _now(),
        "finished": None,
        "pictures": len(pictures),
    }
    out.mkdir(parents=True, exist_ok=True)
    run, done = _continued(out, run) if resume else (_begun(out, run), set[str]())
    left = [picture for picture in pictures if names[picture.path] not in done]
    verdicts = inspector.inspect([picture.path for picture in left])
    try:
        with (out / JOURNAL).open("a", encoding="utf-8") as journal:
            for count, (picture, verdict) in enumerate(zip(left, verdicts, strict=True), start=len(done) + 1):
                if isinstance(verdict, Verdict):
                    _draw(out, names[picture.path], picture.path, verdict, inspector, overlays, masks)
                # Drawn first, so that a row in the journal means that everything of that picture is there.
                row = _row(names[picture.path], picture, verdict, inspector.card)
                journal.write(json.dumps(row, ensure_ascii=False) + "\n")
                journal.flush()
                watch(Progress("score", count, len(pictures)))
        rows = list(read_journal(out / JOURNAL))
        _write_table(out, rows, table)
        parts = part_rows(rows)
        _replace(out / PARTS, _as_csv(parts))
        _replace(out / RUN, json.dumps({**run, "finished": _now()}, indent=2, ensure_ascii=False))
    except OSError as error:
        raise DataError(
            f"{out}: results cannot be written ({error.strerror or error}); what was judged is kept: make room, "
            "then go on with --resume"
        ) from error
    return Tally(
        dict(Counter(row["decision"] for row in rows)),
        dict(Counter(row["decision"] for row in parts)),
        tuple((row["file"], row["error"]) for row in rows if row["decision"] == ERROR),
    )


def read_journal(path: Path) -> Iterator[Row]:
    """The whole rows of a journal; a last line that a kill has cut short is left out."""
    with path.open(encoding="utf-8", errors="replace") as journal:
        for line in journal:
            if line.endswith("\n"):
                yield json.loads(line)


def part_rows(rows: Iterable[Row]) -> list[Row]:
    """One row per part, in order of first appearance: its worst picture decides; unusable ones are counted."""
    pictures: dict[str, list[Row]] = {}
    for row in rows:
        pictures.setdefault(row["part"], []).append(row)
    result = []
    for part, of_part in pictures.items():
        worst = max(of_part, key=lambda row: (SEVERITY[row["decision"]], row["score"] or -np.inf))
        result.append(
            {
                "part": part,
                "decision": worst["decision"],
                "score": worst["score"],
                "p_value": worst["p_value"],
                "threshold": worst["threshold"],
                "worst_file": worst["file"],
                "pictures": len(of_part),
                "errors": sum(row["decision"] == ERROR for row in of_part),
                "bundle_id": worst["bundle_id"],
                "calibration_id": worst["calibration_id"],
            }
        )
    return result


def _row(name: str, picture: Picture, verdict: Verdict | ImageError, card: Card) -> Row:
    """One journal line; a picture that could not be used has the same keys, mostly empty."""
    row: Row = {"file": name, "part": picture.part, "decision": ERROR}
    row |= dict.fromkeys(("score", "p_value", "threshold", "review_threshold", "distance", "distance_limit"))
    row |= {"regions": [], "mask_is_top_fraction": False, "milliseconds": None}
    row |= {"bundle_id": card.bundle_id, "calibration_id": card.calibration_id, "sha256": None, "error": None}
    row |= {"label": picture.label, "kind": picture.kind or None}
    if isinstance(verdict, ImageError):
        return row | {"error": str(verdict)}
    return row | {
        "decision": verdict.decision.word,
        "score": verdict.score,
        "p_value": verdict.p_value,
        "threshold": verdict.threshold,
        "review_threshold": verdict.review_threshold,
        "distance": verdict.distance,
        "distance_limit": verdict.distance_limit,
        "regions": [asdict(region) for region in verdict.regions()],
        "mask_is_top_fraction": verdict.mask_is_top_fraction,
        "milliseconds": round(verdict.milliseconds, 3),
        "sha256": verdict.sha256,
    }


def _begun(out: Path, run: dict[str, Any]) -> dict[str, Any]:
    if (out / RUN).exists():
        raise SettingsError(f"{out}: holds results already; go on with --resume, or choose another --out")
    _replace(out / RUN, json.dumps(run, indent=2, ensure_ascii=False))
    (out / JOURNAL).write_bytes(b"")
    return run


def _continued(out: Path, run: dict[str, Any]) -> tuple[dict[str, Any], set[str]]:
    """The earlier run's header, and the files it has judged. A last line cut short by a kill is dropped."""
    if not (out / RUN).is_file():
        raise SettingsError(f"{out}: nothing to resume here (it has no {RUN}); leave --resume out")
    earlier = json.loads((out / RUN).read_text(encoding="utf-8"))
    for what, before, now in (
        ("folder", earlier["source"], run["source"]),
        ("bundle", earlier["card"]["bundle_id"], run["card"]["bundle_id"]),
        ("calibration", earlier["card"]["calibration"], run["card"]["calibration"]),
    ):
        if before != now:
            raise SettingsError(
                f"{out}: holds results of another {what} ({before}, not {now}); mixing them would be wrong: "
                "choose another --out"
            )
    journal = out / JOURNAL
    whole = journal.read_bytes() if journal.exists() else b""
    whole = whole[: whole.rfind(b"\n") + 1]
    _replace(journal, whole.decode("utf-8"))
    return {**earlier, "pictures": run["pictures"]}, {json.loads(line)["file"] for line in whole.splitlines()}


def _draw(
    out: Path, name: str, path: Path, verdict: Verdict, inspector: Inspector, overlays: bool, masks: bool
) -> None:
    """PNG files beside each other under the picture's own relative name."""
    if overlays:
        pixels = read_image(path, full_scale=inspector.card.image.full_scale)
        _save_png(out / "overlays" / f"{name}.png", overlay(pixels, verdict))
    if masks:
        _save_png(out / "masks" / f"{name}.png", verdict.mask_at_full_size().astype(np.uint8) * 255)


def _save_png(path: Path, pixels: np.ndarray[Any, np.dtype[np.uint8]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def _write_table(out: Path, rows: list[Row], table: Format) -> None:
    """The journal's rows as one table; `jsonl` is the journal itself. Regions become JSON text."""
    flat = [{**row, "regions": json.dumps(row["regions"])} for row in rows]
    match table:
        case "csv":
            _replace(out / "results.csv", _as_csv(flat))
        case "parquet":
            write_parquet(flat, out / "results.parquet")
        case "jsonl":
            pass


def write_parquet(rows: list[Row], path: Path) -> None:
    """Raises SettingsError where pyarrow is not installed."""
    check_parquet()
    import pyarrow
    import pyarrow.parquet

    partial = path.with_suffix(".partial")
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), partial)
    partial.replace(path)


def check_parquet() -> None:
    """Raises SettingsError where pyarrow is not installed: before the work, not after it."""
    try:
        import pyarrow  # noqa: F401
    except ImportError as error:
        raise SettingsError("--format parquet needs pyarrow: pip install 'defectflow[parquet]', or use csv") from error


def _as_csv(rows: list[Row]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]) if rows else ["file"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _replace(path: Path, text: str) -> None:
    """Write a whole file or none."""
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(text, encoding="utf-8", newline="\n")
    partial.replace(path)


def _relative(path: Path, source: Path) -> str:
    base = source if source.is_dir() else source.parent
    return path.relative_to(base).as_posix() if path.is_relative_to(base) else path.as_posix()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
