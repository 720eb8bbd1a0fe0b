"""A manifest's rows: CSV or Parquet -> (place, {column: value}). Knows the columns, not what they mean.

CSV is read as people save it: commas, semicolons or tabs; UTF-8 or UTF-16; column names in any case. Columns of other
names are kept, and carried to the results.
"""

from __future__ import annotations

import codecs
import csv
import io
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from defectflow.errors import DataError

COLUMNS = ("path", "name", "label", "kind", "mask", "part", "split", "product")
"""Columns that mean something; only `path` is required. Paths are relative to the manifest's folder. `name` is what
people call the picture, where its file is called otherwise."""
SUFFIXES = (".csv", ".parquet")
SEPARATORS = (",", ";", "\t")


def manifest_rows(manifest: Path) -> list[tuple[str, dict[str, str]]]:
    """("line 2", {column: value}), ... of every row that is not blank. Raises DataError naming the line."""
    return list(_parquet_rows(manifest) if manifest.suffix.lower() == ".parquet" else _csv_rows(manifest))


def is_manifest(file: Path) -> bool:
    """Whether a CSV file's header has the column `path`: others, of whatever program, list something else."""
    try:
        return "path" in _header(_text(file))[0]
    except (DataError, csv.Error):
        return False


def _text(manifest: Path) -> str:
    try:
        content = manifest.read_bytes()
        wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))  # Excel's "Unicode text"
        return content.decode("utf-16" if wide else "utf-8-sig")  # -sig: Excel writes a byte-order mark
    except (UnicodeDecodeError, OSError) as error:
        raise DataError(f"{manifest}: cannot be read as CSV in UTF-8 ({error}); save it as 'CSV UTF-8'") from error


def _header(text: str) -> tuple[list[str], str]:
    """The columns' names, folded, and what separates them: of SEPARATORS, the one that the first line has most of."""
    first = text.partition("\n")[0]
    separator = max(SEPARATORS, key=first.count)
    return [_fold(column) for column in next(csv.reader([first], delimiter=separator, strict=True), [])], separator


def _csv_rows(manifest: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """("line 2", {column: value}), ... of a CSV file, without space around values."""
    text = _text(manifest)
    try:
        columns, separator = _header(text)
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
        next(reader, None)
        _check_columns(manifest, columns)
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) != len(columns):
                raise DataError(
                    f"{manifest}, line {reader.line_num}: {len(cells)} values for {len(columns)} "
                    "columns; put values that hold the separator in double quotes"
                )
            yield f"line {reader.line_num}", dict(zip(columns, (c.strip() for c in cells), strict=True))
    except csv.Error as error:
        raise DataError(f"{manifest}: cannot be read as CSV ({error}); save it as 'CSV UTF-8'") from error


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
    columns = [_fold(column) for column in table.column_names]
    _check_columns(manifest, columns)
    for number, row in enumerate(table.to_pylist(), start=1):
        values = ("" if value is None else str(value).strip() for value in row.values())
        yield f"row {number}", dict(zip(columns, values, strict=True))


def _check_columns(manifest: Path, columns: Sequence[str]) -> None:
    for column, count in Counter(columns).items():
        meant = get_close_matches(column.casefold(), COLUMNS, n=1, cutoff=0.75)
        if column not in COLUMNS and meant:  # a label that is not read would make everything good
            raise DataError(
                f"{manifest}, header: unknown column {column!r}; is {meant[0]!r} meant? Otherwise rename it"
            )
        if count > 1:
            raise DataError(f"{manifest}, header: column {column!r} appears {count} times")
    if "path" not in columns:
        raise DataError(
            f"{manifest}, header: the column 'path' is missing; there are {', '.join(columns)}. Columns that mean "
            f"something are {', '.join(COLUMNS)}"
        )


def _fold(column: str) -> str:
    """A column's name as it is compared: `Path` is `path`. Other columns keep their case."""
    column = unicodedata.normalize("NFC", column.strip())
    return column.casefold() if column.casefold() in COLUMNS else column
