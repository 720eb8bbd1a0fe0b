"""Row -> its line in the chain: number, digest, and the hash of the line before. What makes the log a witness.

    digest = SHA-256(the row's values as canonical JSON)
    hash_i = SHA-256(hash_{i-1} | i | kind | digest)

So no row can be changed, taken out, put in or moved without every later line giving it away. What a chain cannot show
is that its end was cut off: note `head` elsewhere now and then, and hand it to `verify`.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Column, Connection, Double, RowMapping, Table, insert, select
from sqlalchemy.exc import SQLAlchemyError

from defectflow.errors import StoreError
from defectflow.store.schema import CHAINED, REMOVABLE, chain, removals

GENESIS = "0" * 64
_HEAD = select(chain.c.id, chain.c.hash).order_by(chain.c.id.desc()).limit(1)
LISTED = 50
"""Findings that are told, at most."""
FETCHED = 1000


@dataclass(frozen=True, slots=True)
class Head:
    """The chain's last line: note it elsewhere, and a later `verify` can tell whether the log was cut or rewritten."""

    id: int
    hash: str

    def __str__(self) -> str:
        return f"{self.id}:{self.hash}"

    @classmethod
    def parse(cls, text: str) -> Head:
        """The inverse of `str`. Raises StoreError."""
        number, colon, digest = text.partition(":")
        if not (colon and number.isdecimal() and re.fullmatch("[0-9a-f]{64}", digest)):
            raise StoreError(f"head {text!r} is not NUMBER:HASH with 64 hex digits, as defectflow log verify prints it")
        return cls(int(number), digest)


@dataclass(frozen=True, slots=True)
class Verification:
    """What reading the whole log found."""

    rows: int
    removed: int
    """Rows that retention has removed, as the log itself says."""
    head: Head
    findings: tuple[str, ...]
    """One sentence per row that is not as it was written; at most LISTED."""

    @property
    def passed(self) -> bool:
        return not self.findings


def append(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> list[int]:
    """Write rows and their lines; their numbers. The connection must hold the store's write lock."""
    return [row["id"] for row in append_rows(connection, table, rows)]


def append_rows(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """As `append`; the rows as the database gives them back, with every column."""
    last = head(connection)
    lines, numbered = list[dict[str, Any]](), list[dict[str, Any]]()
    names = set(table.columns.keys())
    for row in rows:
        unknown = set(row) - names
        if unknown:
            raise KeyError(f"{table.name} has no column {', '.join(sorted(unknown))}")
        stored = {column.name: _storable(column, row.get(column.name)) for column in table.columns}
        stored["id"] = last.id + 1
        digest, previous = digest_of(stored), last.hash
        last = Head(last.id + 1, hash_of(previous, last.id + 1, table.name, digest))
        lines.append({"id": last.id, "kind": table.name, "digest": digest, "previous": previous, "hash": last.hash})
        numbered.append(stored)
    if rows:
        connection.execute(insert(chain), lines)
        connection.execute(insert(table), numbered)
    return numbered


def head(connection: Connection) -> Head:
    """The last line; of an empty chain, number 0."""
    row = connection.execute(_HEAD).first()
    return Head(0, GENESIS) if row is None else Head(row.id, row.hash)


def digest_of(row: Mapping[str, Any] | RowMapping) -> str:
    """SHA-256 of a row's values, in hex. Empty values are left out, so that a later column changes no old digest."""
    values = {name: value for name, value in row.items() if value is not None}
    return hashlib.sha256(json.dumps(values, sort_keys=True, default=repr).encode()).hexdigest()


def hash_of(previous: str, number: int, kind: str, digest: str) -> str:
    return hashlib.sha256(f"{previous}|{number}|{kind}|{digest}".encode()).hexdigest()


def verify(connection: Connection, *, noted: Head | None = None) -> Verification:
    """Read everything once, in order, in bounded memory. `noted` is a head of earlier, which must still be there."""
    findings = list[str]()
    try:
        rows, removed, last = _walk(connection, noted, findings)
    except (SQLAlchemyError, UnicodeDecodeError) as error:  # so damaged that the database itself cannot read on
        findings.append(f"the database cannot be read any further: {error.__cause__ or error}")
        rows, removed, last = 0, 0, Head(0, GENESIS)
    if noted is not None and noted.id > last.id:
        findings.append(f"chain: ends at row {last.id}; row {noted.id}, noted earlier, was cut off")
    return Verification(rows, removed, last, tuple(findings[:LISTED]))


def _walk(connection: Connection, noted: Head | None, findings: list[str]) -> tuple[int, int, Head]:
    """Chain and tables side by side, by number. Returns the rows seen, the rows removed, and the head."""
    allowed = connection.execute(select(removals.c.through).order_by(removals.c.through.desc()).limit(1)).scalar() or 0
    contents = {table.name: _Ascending(connection, table) for table in CHAINED}
    removable = {table.name for table in REMOVABLE}
    rows = removed = 0
    last = Head(0, GENESIS)
    for line in _stream(connection, chain):
        if line["id"] != last.id + 1:
            findings.append(f"chain: rows {last.id + 1} to {line['id'] - 1} are missing")
        if line["hash"] != hash_of(line["previous"], line["id"], line["kind"], line["digest"]):
            findings.append(f"chain, row {line['id']}: was altered")
        if line["previous"] != last.hash:
            findings.append(f"chain, row {line['id']}: does not continue the row before it")
        if noted is not None and noted.id == line["id"] and noted.hash != line["hash"]:
            findings.append(f"chain, row {line['id']}: is not the one noted earlier; the log was rewritten")
        last = Head(line["id"], line["hash"])
        if line["kind"] not in contents:
            findings.append(f"chain, row {line['id']}: belongs to no known table ({line['kind']!r})")
            continue
        table = contents[line["kind"]]
        findings.extend(
            f"{line['kind']}, row {number}: was inserted without the log" for number in table.before(line["id"])
        )
        row = table.take(line["id"])
        if row is not None:
            rows += 1
            if digest_of(row) != line["digest"]:
                findings.append(f"{line['kind']}, row {line['id']}: was altered")
        elif line["kind"] in removable and line["id"] <= allowed:
            removed += 1
        else:
            findings.append(f"{line['kind']}, row {line['id']}: is missing")
    for name, table in contents.items():
        findings.extend(f"{name}, row {number}: was inserted without the log" for number in table.before(None))
    return rows, removed, last


class _Ascending:
    """A table's rows, by number, with a look at the next one."""

    def __init__(self, connection: Connection, table: Table) -> None:
        self._rows = _stream(connection, table)
        self._next = next(self._rows, None)

    def before(self, number: int | None) -> Iterator[int]:
        """Skip and tell the rows below a number; with None, all that are left."""
        while self._next is not None and (number is None or self._next["id"] < number):
            yield self._next["id"]
            self._next = next(self._rows, None)

    def take(self, number: int) -> RowMapping | None:
        """The row with this number, if it is there."""
        row = self._next
        if row is None or row["id"] != number:
            return None
        self._next = next(self._rows, None)
        return row


def _stream(connection: Connection, table: Table) -> Iterator[RowMapping]:
    reading = connection.execution_options(yield_per=FETCHED)
    return iter(reading.execute(select(table).order_by(table.c.id)).mappings())


def _storable(column: Column[Any], value: Any) -> Any:
    """As the database will give it back, so that the digest can be found again."""
    if value is None or not isinstance(column.type, Double):
        return value
    number = float(value) + 0.0  # no negative zero, which SQLite does not keep
    return None if math.isnan(number) else number
