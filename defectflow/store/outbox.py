"""Inspections -> what the plant's systems have not been told yet.

The rows themselves are the outbox: a channel only keeps the number of the last one that its receiver has confirmed. So
nothing is told that is not in the store, a kill or a broken network costs nothing but delay, and what is sent again
bears the same number. One process at a time tells a channel; where it dies, another takes over.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, and_, func, insert, or_, select, update

from defectflow.store import schema
from defectflow.store.database import Database
from defectflow.store.rows import Inspection, read, stamp

_channels, _inspections = schema.channels, schema.inspections


class Outbox:
    """What each channel has still to be told. Safe to use from several processes at once."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def hold(self, channel: str, owner: str, seconds: float) -> bool:
        """Tell this channel for so long from now on; False while another process does. Call it again to go on.

        A channel that is new here begins after the newest inspection.
        """
        now = datetime.now(UTC)
        held = {"owner": owner, "held_until": stamp(now + timedelta(seconds=seconds))}
        free = or_(_channels.c.owner.is_(None), _channels.c.owner == owner, _channels.c.held_until < stamp(now))
        with self._database.writing() as connection:
            if connection.execute(select(_channels.c.name).where(_channels.c.name == channel)).first() is None:
                newest = connection.execute(select(func.max(_inspections.c.id))).scalar() or 0
                connection.execute(insert(_channels), [{"name": channel, "told": newest, **held}])
                return True
            taken = connection.execute(update(_channels).where(_channels.c.name == channel, free).values(**held))
            return bool(taken.rowcount)

    def release(self, channel: str, owner: str) -> None:
        """Another process may tell it at once."""
        self._set(channel, owner, {"owner": None, "held_until": None})

    def waiting(self, channel: str, source: str, limit: int) -> list[Inspection]:
        """The oldest inspections of this source that the channel has not been told, at most `limit`."""
        wanted = select(_inspections).where(self._untold(channel, source)).order_by(_inspections.c.id).limit(limit)
        with self._database.reading() as connection:
            return [read(Inspection, row) for row in connection.execute(wanted).mappings()]

    def told(self, channel: str, owner: str, through: int) -> None:
        """The receiver has confirmed everything up to this number."""
        self._set(channel, owner, {"told": through})

    def behind(self, channel: str, source: str) -> int:
        """How many inspections of this source the channel has not been told."""
        wanted = select(func.count()).select_from(_inspections).where(self._untold(channel, source))
        with self._database.reading() as connection:
            return int(connection.execute(wanted).scalar_one())

    @staticmethod
    def _untold(channel: str, source: str) -> ColumnElement[bool]:
        last = select(_channels.c.told).where(_channels.c.name == channel).scalar_subquery()
        return and_(_inspections.c.id > last, _inspections.c.source == source)

    def _set(self, channel: str, owner: str, values: dict[str, Any]) -> None:
        """Only while this process tells the channel."""
        own = and_(_channels.c.name == channel, _channels.c.owner == owner)
        with self._database.writing() as connection:
            connection.execute(update(_channels).where(own).values(values))
