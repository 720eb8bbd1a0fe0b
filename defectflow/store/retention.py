"""Retention: old rows and pictures are removed, and pictures beyond a size. Each removal is itself a row.

Rows: inspections and reviews up to a number, all of them older than the limit, and told to the plant's systems. Their
digests stay in `chain`, so the rest still verifies, and a row that comes back can be checked. Copies of pictures: those
that no younger inspection shows; and where all together are too large, those that were inspected longest ago.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy import and_, delete, func, select

from defectflow.store import chain, schema
from defectflow.store.copies import copy_file
from defectflow.store.database import Database
from defectflow.store.outbox import Outbox
from defectflow.store.rows import stamp
from defectflow.store.settings import StoreSettings

_seen, _removals = schema.inspections, schema.removals


def retain(
    database: Database, settings: StoreSettings, copies: Path | None, *, by: str, now: datetime
) -> tuple[int, int]:
    """Remove what is older, or takes more room, than the settings want; how many rows and copies went.

    `copies`: their folder.
    """
    pictures = 0
    picture_days = min(
        (days for days in (settings.keep_pictures_days, settings.keep_rows_days) if days is not None), default=None
    )
    if picture_days is not None and copies is not None:
        pictures = _remove(copies, _aged_copies(database, stamp(now - timedelta(days=picture_days))))
    if settings.keep_pictures_gigabytes is not None and copies is not None:
        pictures += _remove(copies, _copies_beyond(database, copies, settings.keep_pictures_gigabytes * 1e9))
    if settings.keep_rows_days is None:
        rows, through = 0, 0
    else:
        rows, through = _aged(database, stamp(now - timedelta(days=settings.keep_rows_days)), now)
    if rows or pictures:
        with database.writing() as connection:
            row = {"at": stamp(now), "by": by, "through": through, "rows": rows, "pictures": pictures}
            chain.append(connection, _removals, [row])  # first: the database refuses a removal that none announced
            for table in schema.REMOVABLE:
                connection.execute(delete(table).where(table.c.id <= through))
            connection.execute(delete(schema.requests).where(schema.requests.c.last <= through))
            kept = select(schema.alarms.c.id)  # numbered with inspections, and not removed
            gone = and_(schema.refused.c.number <= through, schema.refused.c.number.not_in(kept))
            connection.execute(delete(schema.refused).where(gone))
    return rows, pictures


def _aged(database: Database, before: str, now: datetime) -> tuple[int, int]:
    """How many rows are older and told to everybody, and the last one's number."""
    last = select(func.max(_seen.c.id))
    with database.reading() as connection:
        # Not simply the last older one: after a clock was set back, younger rows may come before it.
        younger = connection.execute(select(func.min(_seen.c.id)).where(_seen.c.at >= before)).scalar()
        untold = Outbox.oldest_untold(connection, now)
        stays = min((number for number in (younger, untold) if number is not None), default=None)
        through = connection.execute(last if stays is None else last.where(_seen.c.id < stays)).scalar() or 0
        rows = sum(
            connection.execute(select(func.count()).select_from(table).where(table.c.id <= through)).scalar_one()
            for table in schema.REMOVABLE
        )
    return rows, through


def _aged_copies(database: Database, before: str) -> Sequence[str]:
    """Names of copies whose last inspection is older."""
    with database.reading() as connection:
        return connection.execute(_COPIES.having(before > _LAST_SEEN)).scalars().all()


def _copies_beyond(database: Database, folder: Path, most_bytes: float) -> list[str]:
    """Names of copies that find no room beside those inspected later."""
    with database.reading() as connection:
        names = connection.execute(_COPIES.order_by(_LAST_SEEN.desc())).scalars().all()
    beyond, taken = [], 0
    for name in names:
        file = copy_file(folder, name)
        if file is not None and file.is_file():
            taken += file.stat().st_size
            if taken > most_bytes:
                beyond.append(name)
    return beyond


def _remove(folder: Path, names: Iterable[str]) -> int:
    """Delete copies; how many were still there."""
    removed = 0
    for name in names:
        file = copy_file(folder, name)
        if file is not None and file.is_file():
            file.unlink(missing_ok=True)  # another process may just be doing the same
            removed += 1
    return removed


_LAST_SEEN = func.max(_seen.c.at)
_COPIES = select(_seen.c.picture).where(_seen.c.kept == "copy").group_by(_seen.c.picture)
