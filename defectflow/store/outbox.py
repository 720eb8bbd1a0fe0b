"""Inspections and alarms -> what the plant's systems have not been told yet.

The rows themselves are the outbox: a channel only keeps the number of the last one that its receiver has confirmed. So
nothing is told that is not in the store, a kill or a broken network costs nothing but delay, and what is sent again
bears the same number. One process at a time tells a channel; where it dies, another takes over.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, ScalarSelect, and_, func, insert, or_, select, update

from defectflow.store import schema
from defectflow.store.database import Database
from defectflow.store.rows import Alarm, Inspection, read, stamp

_channels, _inspections, _alarms = schema.channels, schema.inspections, schema.alarms
_TOLD = (_inspections, _alarms)
"""Their rows are numbered together, so one number says how far a channel has been told."""


class Outbox:
    """What each channel has still to be told. Safe to use from several processes at once."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def hold(self, channel: str, owner: str, seconds: float) -> bool:
        """Tell this channel for so long from now on; False while another process does. Call it again to go on.

        A channel that is new here begins after the newest inspection and alarm.
        """
        now = datetime.now(UTC)
        held = {"owner": owner, "held_until": stamp(now + timedelta(seconds=seconds))}
        free = or_(_channels.c.owner.is_(None), _channels.c.owner == owner, _channels.c.held_until < stamp(now))
        with self._database.writing() as connection:
            if connection.execute(select(_channels.c.name).where(_channels.c.name == channel)).first() is None:
                newest = max(connection.execute(select(func.max(table.c.id))).scalar() or 0 for table in _TOLD)
                connection.execute(insert(_channels), [{"name": channel, "told": newest, **held}])
                return True
            taken = connection.execute(update(_channels).where(_channels.c.name == channel, free).values(**held))
            return bool(taken.rowcount)

    def release(self, channel: str, owner: str) -> None:
        """Another process may tell it at once."""
        self._set(channel, owner, {"owner": None, "held_until": None})

    def waiting(self, channel: str, source: str, limit: int) -> list[Inspection | Alarm]:
        """The oldest inspections of this source, and alarms, that the channel has not been told, at most `limit`."""
        inspections = select(_inspections).where(self._untold(channel, source)).order_by(_inspections.c.id).limit(limit)
        alarms = select(_alarms).where(_alarms.c.id > self._last(channel)).order_by(_alarms.c.id).limit(limit)
        with self._database.reading() as connection:
            rows: list[Inspection | Alarm] = [
                read(Inspection, row) for row in connection.execute(inspections).mappings()
            ]
            rows += [read(Alarm, row) for row in connection.execute(alarms).mappings()]
        return sorted(rows, key=lambda row: row.id)[:limit]

    def told(self, channel: str, owner: str, through: int) -> None:
        """The receiver has confirmed everything up to this number."""
        self._set(channel, owner, {"told": through})

    def behind(self, channel: str, source: str) -> int:
        """How many inspections of this source the channel has not been told."""
        wanted = select(func.count()).select_from(_inspections).where(self._untold(channel, source))
        with self._database.reading() as connection:
            return int(connection.execute(wanted).scalar_one())

    @classmethod
    def _untold(cls, channel: str, source: str) -> ColumnElement[bool]:
        return and_(_inspections.c.id > cls._last(channel), _inspections.c.source == source)

    @staticmethod
    def _last(channel: str) -> ScalarSelect[Any]:
        return select(_channels.c.told).where(_channels.c.name == channel).scalar_subquery()

    def _set(self, channel: str, owner: str, values: dict[str, Any]) -> None:
        """Only while this process tells the channel."""
        own = and_(_channels.c.name == channel, _channels.c.owner == owner)
        with self._database.writing() as connection:
            connection.execute(update(_channels).where(own).values(values))
