"""Inspections and alarms -> what the plant's systems have not been told yet.

The rows themselves are the outbox: a channel only keeps the number of the last one that its receiver has confirmed. So
nothing is told that is not in the store, a kill or a broken network costs nothing but delay, and what is sent again
bears the same number. One process at a time tells a channel; where it dies, another takes over.

What a receiver refuses for good, while it accepts others, is set aside: a list by itself, until it is told again.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, ScalarSelect, Select, and_, delete, func, insert, or_, select, update

from defectflow.errors import StoreError
from defectflow.store import schema
from defectflow.store.database import Database
from defectflow.store.rows import SERVICE, Alarm, ChannelState, Inspection, Refused, read, stamp, stamped_now

_channels, _inspections, _alarms, _refused = schema.channels, schema.inspections, schema.alarms, schema.refused
GIVEN_UP_DAYS = 30
"""Nothing is kept for a channel that no service has told for so long: it was renamed, or is gone."""
_UNTOLD = and_(_inspections.c.id > _channels.c.told, _inspections.c.source == SERVICE)
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
        self._set(channel, owner, {"owner": None, "held_until": stamped_now()})

    def waiting(self, channel: str, limit: int) -> list[Inspection | Alarm]:
        """The service's oldest inspections, and alarms, that the channel has not been told, at most `limit`."""
        inspections = select(_inspections).where(self._untold(channel)).order_by(_inspections.c.id).limit(limit)
        alarms = select(_alarms).where(_alarms.c.id > self._last(channel)).order_by(_alarms.c.id).limit(limit)
        with self._database.reading() as connection:
            return _in_order(connection, inspections, alarms)[:limit]

    def told(self, channel: str, owner: str, through: int) -> None:
        """The receiver has confirmed everything up to this number."""
        self._set(channel, owner, {"told": through})

    def set_aside(self, channel: str, owner: str, number: int, why: str) -> None:
        """The receiver refuses this one for good: note it, and go on behind it. Noted again, it keeps one row."""
        this = and_(_refused.c.channel == channel, _refused.c.number == number)
        own = and_(_channels.c.name == channel, _channels.c.owner == owner)
        row = {"channel": channel, "number": number, "at": stamped_now(), "why": why, "again": 0}
        with self._database.writing() as connection:
            if connection.execute(update(_channels).where(own, _channels.c.told < number).values(told=number)).rowcount:
                connection.execute(delete(_refused).where(this))
                connection.execute(insert(_refused), [row])
                return
            connection.execute(update(_refused).where(this).values(row))

    def refused(self) -> list[Refused]:
        """What was set aside, by channel, oldest first."""
        wanted = select(_refused).order_by(_refused.c.channel, _refused.c.number)
        with self._database.reading() as connection:
            return [read(Refused, row) for row in connection.execute(wanted).mappings()]

    def refused_counts(self) -> dict[str, int]:
        """How many messages were set aside, by channel."""
        wanted = select(_refused.c.channel, func.count()).group_by(_refused.c.channel).order_by(_refused.c.channel)
        with self._database.reading() as connection:
            return {channel: count for channel, count in connection.execute(wanted)}  # noqa: C416

    def tell_again(self, refused: Sequence[Refused]) -> None:
        """Let what was set aside be told once more; a running service does so within a second or two."""
        with self._database.writing() as connection:
            for one in refused:
                this = and_(_refused.c.channel == one.channel, _refused.c.number == one.number)
                connection.execute(update(_refused).where(this).values(again=1))

    def to_tell_again(self, channel: str, limit: int) -> list[Inspection | Alarm]:
        """What was set aside and is wanted again, oldest first, at most `limit`; not what retention has removed."""
        wanted = select(_refused.c.number).where(_refused.c.channel == channel, _refused.c.again == 1)
        inspections, alarms = (
            select(table).where(table.c.id.in_(wanted)).order_by(table.c.id).limit(limit) for table in _TOLD
        )
        with self._database.reading() as connection:
            return _in_order(connection, inspections, alarms)[:limit]

    def told_again(self, channel: str, number: int) -> None:
        """The receiver has confirmed what it had refused."""
        this = and_(_refused.c.channel == channel, _refused.c.number == number)
        with self._database.writing() as connection:
            connection.execute(delete(_refused).where(this))

    def behind(self, channel: str) -> int:
        """How many of the service's inspections the channel has not been told."""
        wanted = select(func.count()).select_from(_inspections).where(self._untold(channel))
        with self._database.reading() as connection:
            return int(connection.execute(wanted).scalar_one())

    def channels(self) -> list[ChannelState]:
        """How far each channel has been told, by name; those of services that do not run, too."""
        now = stamped_now()
        held = and_(_channels.c.owner.is_not(None), _channels.c.held_until > now)
        wanted = (
            select(
                _channels.c.name,
                func.count(_inspections.c.id).label("behind"),
                func.min(_inspections.c.at).label("since"),
                held.label("held"),
            )
            .outerjoin_from(_channels, _inspections, _UNTOLD)
            .group_by(_channels.c.name, _channels.c.owner, _channels.c.held_until)
            .order_by(_channels.c.name)
        )
        with self._database.reading() as connection:
            return [read(ChannelState, row) for row in connection.execute(wanted).mappings()]

    def forget(self, channel: str) -> None:
        """Never tell this one what it has not been told. Raises StoreError: unknown, or a service tells it."""
        free = or_(_channels.c.owner.is_(None), _channels.c.held_until < stamped_now())
        with self._database.writing() as connection:
            known = connection.execute(select(_channels.c.name).order_by(_channels.c.name)).scalars().all()
            if channel not in known:
                raise StoreError(f"there is no channel {channel!r}; known: {', '.join(known) or 'none'}")
            if not connection.execute(delete(_channels).where(_channels.c.name == channel, free)).rowcount:
                raise StoreError(
                    f"channel {channel!r}: a running service tells it; take it out of that service's settings and "
                    "restart it first. If the service was killed, try again in 15 seconds"
                )
            connection.execute(delete(_refused).where(_refused.c.channel == channel))

    @staticmethod
    def oldest_untold(connection: Connection, now: datetime) -> int | None:
        """The oldest inspection that a channel has not been told; None: there is none.

        A channel that no service has told for GIVEN_UP_DAYS counts no more.
        """
        lately = _channels.c.held_until > stamp(now - timedelta(days=GIVEN_UP_DAYS))
        wanted = select(func.min(_inspections.c.id)).join_from(_channels, _inspections, _UNTOLD).where(lately)
        return connection.execute(wanted).scalar()

    @classmethod
    def _untold(cls, channel: str) -> ColumnElement[bool]:
        return and_(_inspections.c.id > cls._last(channel), _inspections.c.source == SERVICE)

    @staticmethod
    def _last(channel: str) -> ScalarSelect[Any]:
        return select(_channels.c.told).where(_channels.c.name == channel).scalar_subquery()

    def _set(self, channel: str, owner: str, values: dict[str, Any]) -> None:
        """Only while this process tells the channel."""
        own = and_(_channels.c.name == channel, _channels.c.owner == owner)
        with self._database.writing() as connection:
            connection.execute(update(_channels).where(own).values(values))


def _in_order(connection: Connection, inspections: Select[Any], alarms: Select[Any]) -> list[Inspection | Alarm]:
    rows: list[Inspection | Alarm] = [read(Inspection, row) for row in connection.execute(inspections).mappings()]
    rows += [read(Alarm, row) for row in connection.execute(alarms).mappings()]
    return sorted(rows, key=lambda row: row.id)
