"""A request that may be repeated -> its rows, written once however often it comes.

A client that got no answer cannot know whether its pictures were recorded. It sends them again under the same key; the
key is written in the transaction that writes the rows, so a kill leaves both or neither.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from sqlalchemy import Connection, insert, select

from defectflow.bundle import Card
from defectflow.errors import KeyReused
from defectflow.store import chain, schema
from defectflow.store.database import Database
from defectflow.store.rows import Inspection, Seen, read, stamped_now

_requests, _inspections = schema.requests, schema.inspections


@dataclass(frozen=True, slots=True)
class RequestKey:
    """What a client calls a request, so that it can be repeated."""

    client: str
    key: str
    digest: str
    """Of all that was asked: another request under the same key is a mistake."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """Pictures that are recorded together, all or none."""

    card: Card
    """Of the model that judged them."""
    seen: tuple[Seen, ...]
    by: str
    source: str
    key: RequestKey | None = None


class Requests:
    """What was recorded under which key."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def find(self, key: RequestKey) -> tuple[Inspection, ...] | None:
        """The rows of the request, if it was recorded. Raises KeyReused."""
        with self._database.reading() as connection:
            return recorded(connection, key)


def recorded(connection: Connection, key: RequestKey) -> tuple[Inspection, ...] | None:
    """The same within a transaction."""
    row = connection.execute(
        select(_requests).where(_requests.c.client == key.client, _requests.c.key == key.key)
    ).first()
    if row is None:
        return None
    if row.digest != key.digest:
        raise KeyReused(
            f"key {key.key!r}: {key.client} used it on {row.at} for another request; give every request its own key"
        )
    return _between(connection, row.first, row.last)


def write_entries(
    connection: Connection, entries: Sequence[Entry], rows: Sequence[Sequence[Mapping[str, Any]]]
) -> list[tuple[Inspection, ...]]:
    """Append the rows of all entries that are not recorded yet, with their keys; each entry's inspections, in order.

    The connection must hold the store's write lock. Raises KeyReused.
    """
    fresh, keys = list[int](), set[RequestKey]()
    for place, entry in enumerate(entries):
        if entry.key is None or (entry.key not in keys and recorded(connection, entry.key) is None):
            fresh.append(place)
        if entry.key is not None:
            keys.add(entry.key)
    at = stamped_now()
    appended = iter(
        chain.append_rows(connection, _inspections, [{**row, "at": at} for place in fresh for row in rows[place]])
    )
    written: dict[int, tuple[Inspection, ...]] = {}
    for place in fresh:
        written[place] = tuple(read(Inspection, row) for row in islice(appended, len(rows[place])))
        _write_key(connection, entries[place].key, written[place], at)
    return [written[place] if place in written else _repeated(connection, entry) for place, entry in enumerate(entries)]


def _write_key(connection: Connection, key: RequestKey | None, rows: Sequence[Inspection], at: str) -> None:
    """From now on the key stands for these rows, which follow one another."""
    if key is not None and rows:
        said = {"client": key.client, "key": key.key, "digest": key.digest, "at": at}
        connection.execute(insert(_requests), [said | {"first": rows[0].id, "last": rows[-1].id}])


def _repeated(connection: Connection, entry: Entry) -> tuple[Inspection, ...]:
    """The rows of an entry that was recorded under its key."""
    return () if entry.key is None else recorded(connection, entry.key) or ()


def _between(connection: Connection, first: int, last: int) -> tuple[Inspection, ...]:
    """Inspections by number, both ends included."""
    wanted = select(_inspections).where(_inspections.c.id.between(first, last)).order_by(_inspections.c.id)
    return tuple(read(Inspection, row) for row in connection.execute(wanted).mappings())
