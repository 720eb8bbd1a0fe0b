"""A manifest's rows: CSV or Parquet -> (place, {column: value}). Knows the columns, not what they mean."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from defectflow.errors import DataError

COLUMNS = ("path", "name", "label", "kind", "mask", "part", "split")
"""Columns of a manifest; only `path` is required. Paths are relative to the manifest's folder. `name` is what people
call the picture, where its file is called otherwise."""
SUFFIXES = (".csv", ".parquet")


def manifest_rows(manifest: Path) -> list[tuple[str, dict[str, str]]]:
    """("line 2", {column: value}), ... of every row that is not blank. Raises DataError naming the line."""
    return list(_parquet_rows(manifest) if manifest.suffix.lower() == ".parquet" else _csv_rows(manifest))


def _csv_rows(manifest: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """("line 2", {column: value}), ... of a CSV file, without space around values."""
    try:
        with manifest.open(encoding="utf-8-sig", newline="") as file:  # -sig: Excel writes a byte-order mark
            reader = csv.reader(file, strict=True)
            columns = [column.strip() for column in next(reader, [])]
            _check_columns(manifest, columns)
            for cells in reader:
                if not any(cell.strip() for cell in cells):
                    continue
                if len(cells) != len(columns):
                    raise DataError(
                        f"{manifest}, line {reader.line_num}: {len(cells)} values for {len(columns)} "
                        "columns; put values that hold a comma in double quotes"
                    )
                yield f"line {reader.line_num}", dict(zip(columns, (c.strip() for c in cells), strict=True))
    except (UnicodeDecodeError, csv.Error, OSError) as error:
        raise DataError(f"{manifest}: cannot be read as CSV in UTF-8 ({error}); save it as 'CSV UTF-8'") from error


def _parquet_rows(manifest: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """("row 1", {column: value}), ... of a Parquet file; null becomes ""."""
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise DataError(
            f"{manifest}: reading Parquet needs pyarrow; pip install 'defectflow[parquet]', or save it as CSV"
        ) from error
    try:
        table: Any = pyarrow.parquet.read_table(manifest)
    except (OSError, ValueError) as error:  # pyarrow's own errors are subclasses
        raise DataError(f"{manifest}: cannot be read as Parquet ({error})") from error
    _check_columns(manifest, table.column_names)
    for number, row in enumerate(table.to_pylist(), start=1):
        yield (
            f"row {number}",
            {column: "" if value is None else str(value).strip() for column, value in row.items()},
        )


def _check_columns(manifest: Path, columns: Sequence[str]) -> None:
    allowed = f"allowed: {', '.join(COLUMNS)}"
    for column, count in Counter(columns).items():
        if column not in COLUMNS:
            raise DataError(f"{manifest}, header: unknown column {column!r}; {allowed} (commas between them)")
        if count > 1:
            raise DataError(f"{manifest}, header: column {column!r} appears {count} times")
    if "path" not in columns:
        raise DataError(f"{manifest}, header: the column 'path' is missing; {allowed}")
