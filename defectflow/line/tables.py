"""Verdicts -> rows -> tables that others can read: one row per picture, one per part."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, get_args

from defectflow.bundle import Card
from defectflow.common import atomic_write, cell, write_whole
from defectflow.data import Picture, printable
from defectflow.errors import ImageError, SettingsError
from defectflow.line.journal import Part, Row, Stamp, gather_parts
from defectflow.verdict import Measurement, Verdict

TABLE, PARTS = "results", "parts.csv"
Format = Literal["csv", "jsonl", "parquet"]
OF_WORST = ("product", "decision", "reason", "score", "p_value", "threshold", "bundle_id", "calibration_id")
"""What a part has from its worst picture."""
PART_COLUMNS = ("part", *OF_WORST, "worst_file", "pictures", "errors")


def check_parquet() -> None:
    """Raises SettingsError where pyarrow is not installed: before the work, not after it."""
    try:
        import pyarrow  # noqa: F401
    except ImportError as error:
        raise SettingsError("--format parquet needs pyarrow: pip install 'defectflow[parquet]', or use csv") from error


def row_of(
    name: str,
    picture: Picture,
    item: Measurement | ImageError,
    card: Card,
    stamp: Stamp | None = None,
    output_error: str | None = None,
    *,
    auto: bool = False,
) -> Row:
    """One picture's line of the results. `stamp`: the file's, just before it was read. `auto`: its product was found
    by likeness."""
    known: dict[str, Any] = {
        "file": name,
        "part": picture.part,
        "label": picture.label,
        "kind": picture.kind or None,
        "product": picture.product if isinstance(item, ImageError) else item.product or picture.product,
        "product_auto": auto and not isinstance(item, ImageError),
        "more": dict(picture.more),
        "bundle_id": card.bundle_id,
        "calibration_id": card.calibration_id,
        "size_bytes": stamp and stamp.size_bytes,
        "modified_ns": stamp and stamp.modified_ns,
        "output_error": output_error and printable(output_error),
    }
    if isinstance(item, ImageError):
        return Row(**known, decision="error", error=printable(str(item)))
    known |= {
        "score": item.score,
        "distance": item.distance,
        "distance_limit": item.distance_limit,
        "milliseconds": round(item.milliseconds, 3),
        "sha256": item.sha256,
        **(asdict(item.form) if item.form is not None else {}),
    }
    if not isinstance(item, Verdict):
        return Row(**known, decision=None)
    return Row(
        **known,
        decision=item.decision.word,
        reason=item.reason,
        p_value=item.p_value,
        threshold=item.threshold,
        review_threshold=item.review_threshold,
        regions=tuple(asdict(region) for region in item.regions()),
        mask_is_top_fraction=item.mask_is_top_fraction,
    )


def write_tables(out: Path, rows: Sequence[Row], table: Format) -> None:
    """results.csv or results.parquet, and parts.csv."""
    _write_table(out, rows, table)
    write_whole(out / PARTS, as_csv([part_row(part) for part in gather_parts(rows)]))


def part_row(part: Part) -> dict[str, Any]:
    """A part as its worst picture makes it."""
    worst = part.worst
    return {
        "part": part.name,
        **{name: getattr(worst, name) for name in OF_WORST},
        "worst_file": worst.file,
        "pictures": len(part.rows),
        "errors": sum(row.decision == "error" for row in part.rows),
    }


def _write_table(out: Path, rows: Sequence[Row], table: Format) -> None:
    """The journal's rows as one table, regions as JSON text; `jsonl` is the journal itself."""
    if table == "jsonl":
        return
    flat = flatten(rows)
    if table == "csv":
        write_whole(out / f"{TABLE}.csv", as_csv(flat))
        return
    import pyarrow
    import pyarrow.parquet

    with atomic_write(out / f"{TABLE}.parquet") as partial:
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(flat, schema_of(other_columns(rows))), partial)


def schema_of(columns: Iterable[str]) -> Any:
    """The results' columns as Arrow has them, the same for every table. `columns`: the manifest's other ones."""
    import pyarrow

    kinds = {bool: pyarrow.bool_(), int: pyarrow.int64(), float: pyarrow.float64()}
    fields = []
    for name, field in Row.model_fields.items():
        if name != "more":
            said = {field.annotation, *get_args(field.annotation)}
            fields.append((name, next((kinds[kind] for kind in kinds if kind in said), pyarrow.string())))
    return pyarrow.schema([*fields, *((_in_table(column), pyarrow.string()) for column in columns)])


def other_columns(rows: Iterable[Row]) -> list[str]:
    """The manifest's columns that mean nothing to DefectFlow, in order."""
    return list(dict.fromkeys(column for row in rows for column in row.more))


def _in_table(column: str) -> str:
    """What a manifest's column is called in the results."""
    return f"manifest.{column}" if column in Row.model_fields else column


def column_of(name: str) -> str:
    """The manifest's column that has this name in the results."""
    bare = name.removeprefix("manifest.")
    return bare if bare in Row.model_fields else name


def flatten(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """Rows for a table: regions as JSON text, and a manifest's other columns behind ours."""
    rows = list(rows)
    others = other_columns(rows)
    return [
        row.model_dump(mode="json", exclude={"more"})
        | {"regions": json.dumps(row.regions)}
        | {_in_table(column): row.more.get(column, "") for column in others}
        for row in rows
    ]


def as_csv(rows: list[dict[str, Any]]) -> str:
    """A table as CSV text, in which no name is run as a formula."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]) if rows else ["file"], lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: cell(value) for name, value in row.items()} for row in rows)
    return text.getvalue()
