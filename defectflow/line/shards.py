"""Rows of one shard <-> Parquet. What a run on Ray leaves behind, and how all results of either kind are read again.

run.json                       as on one machine, with the number of shards
manifest.jsonl                 one line per finished shard: its files, their SHA-256, what was counted in it
results/shard-000012.parquet   the rows, with the columns of results.parquet
parts/shard-000012.parquet     one row per part, as parts.csv: all pictures of a part lie in one shard
overlays/ masks/               as on one machine

A shard's files are replaced whole; they count, and the manifest is made from them.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from defectflow.common import write_whole
from defectflow.errors import DataError
from defectflow.line.journal import JOURNAL, Part, Row, read_journal
from defectflow.line.tables import PART_COLUMNS, column_of, flatten, part_row, schema_of

MANIFEST, RESULTS, PARTS_OF_SHARDS = "manifest.jsonl", "results", "parts"
AGAIN = "remove this file, then go on with --resume: its pictures are judged again"


class ShardLine(BaseModel):
    """One finished shard, as `manifest.jsonl` holds it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    shard: int
    results: str
    """Relative to the results' folder, as `parts`."""
    results_sha256: str
    parts: str
    parts_sha256: str
    pictures: dict[str, int]
    """By decision; so are the parts."""
    of_parts: dict[str, int]
    reasons: dict[str, int]
    """Why pictures are invalid."""
    by_product: dict[str, dict[str, int]] = {}
    """Parts of each product by decision, where rows name products."""
    unlike: int
    """Pictures whose size, colour or depth is that of no calibration picture."""
    failed: int
    """Pictures that could not be used, or whose overlay or mask could not be written."""
    finished: str


def shard_file(number: int) -> str:
    return f"shard-{number:06}.parquet"


def rows_to_parquet(rows: Sequence[Row], columns: Sequence[str]) -> bytes:
    """`columns`: the manifest's other ones, of all shards."""
    filled = [row.model_copy(update={"more": {name: row.more.get(name, "") for name in columns}}) for row in rows]
    return _to_parquet(flatten(filled), schema_of(columns))


def parts_to_parquet(parts: Iterable[Part]) -> bytes:
    import pyarrow

    text, number, count = pyarrow.string(), pyarrow.float64(), pyarrow.int64()
    kinds = {"score": number, "p_value": number, "threshold": number, "pictures": count, "errors": count}
    schema = pyarrow.schema([(name, kinds.get(name, text)) for name in PART_COLUMNS])
    return _to_parquet([part_row(part) for part in parts], schema)


def _to_parquet(rows: list[dict[str, Any]], schema: Any) -> bytes:
    import pyarrow
    import pyarrow.parquet

    stream = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows, schema), stream)
    return stream.getvalue()


def rows_of_parquet(content: bytes, name: str) -> list[Row]:
    """Raises DataError for what is no shard's results; `name` is what the message calls it."""
    import pyarrow
    import pyarrow.parquet

    try:
        flat = pyarrow.parquet.read_table(io.BytesIO(content)).to_pylist()
        return [_row_of_flat(row) for row in flat]
    except (pyarrow.ArrowException, OSError, ValueError, KeyError) as error:
        raise DataError(f"{name}: cannot be read as results ({str(error).splitlines()[0]}); {AGAIN}") from error


def _row_of_flat(flat: dict[str, Any]) -> Row:
    own = {name: flat[name] for name in Row.model_fields if name in flat}
    more = {column_of(name): value or "" for name, value in flat.items() if name not in own}
    return Row.model_validate(own | {"regions": json.loads(own.get("regions") or "[]"), "more": more})


def read_manifest_lines(out: Path) -> dict[int, ShardLine]:
    """The last line of each shard; one that a kill has cut short is left out."""
    try:
        lines = (out / MANIFEST).read_bytes().splitlines()
    except FileNotFoundError:
        return {}
    known: dict[int, ShardLine] = {}
    for number, text in enumerate(lines, start=1):
        try:
            line = ShardLine.model_validate_json(text)
        except ValidationError as error:
            if number == len(lines):
                break
            raise DataError(
                f"{out / MANIFEST}, line {number}: is no shard; remove the file and go on with --resume, which makes "
                "it anew"
            ) from error
        known[line.shard] = line
    return known


def write_manifest_lines(out: Path, lines: Iterable[ShardLine]) -> None:
    """One line per shard, in order."""
    ordered = sorted(lines, key=lambda line: line.shard)
    write_whole(out / MANIFEST, "".join(line.model_dump_json() + "\n" for line in ordered))


def read_results(folder: Path) -> tuple[list[Row], bool]:
    """All rows of a scored folder, on one machine or on Ray; and whether a last line was cut short and left out.

    Raises DataError where they cannot be read.
    """
    if (folder / JOURNAL).exists() or not (folder / RESULTS).is_dir():
        return read_journal(folder / JOURNAL)
    return [row for file in shard_files(folder) for row in rows_of_parquet(file.read_bytes(), str(file))], False


def shard_files(folder: Path) -> Iterator[Path]:
    yield from sorted((folder / RESULTS).glob("shard-*.parquet"))
