"""Retention: old rows and pictures are removed. Their lines in the chain stay, and each removal is itself a row.

Rows: inspections and reviews up to a number, all of them older than the limit. Their digests stay in `chain`, so the
rest still verifies, and a row that comes back can be checked. Copies of pictures: those that no younger inspection
shows.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy import delete, func, select

from defectflow.store import chain, schema
from defectflow.store.copies import copy_file
from defectflow.store.database import Database
from defectflow.store.rows import stamp
from defectflow.store.settings import StoreSettings

_seen, _removals = schema.inspections, schema.removals


def retain(
    database: Database, settings: StoreSettings, copies: Path | None, *, by: str, now: datetime
) -> tuple[int, int]:
    """Remove what is older than the settings want; how many rows and copies went. `copies`: their folder."""
    pictures = 0
    picture_days = min(
        (days for days in (settings.keep_pictures_days, settings.keep_rows_days) if days is not None), default=None
    )
    if picture_days is not None and copies is not None:
        pictures = _remove_copies(database, copies, stamp(now - timedelta(days=picture_days)))
    if settings.keep_rows_days is None:
        rows, through = 0, 0
    else:
        rows, through = _aged(database, stamp(now - timedelta(days=settings.keep_rows_days)))
    if rows or pictures:
        with database.writing() as connection:
            row = {"at": stamp(now), "by": by, "through": through, "rows": rows, "pictures": pictures}
            chain.append(connection, _removals, [row])  # first: the database refuses a removal that none announced
            for table in schema.REMOVABLE:
                connection.execute(delete(table).where(table.c.id <= through))
            connection.execute(delete(schema.requests).where(schema.requests.c.last <= through))
    return rows, pictures


def _aged(database: Database, before: str) -> tuple[int, int]:
    """How many rows are older, and the last one's number."""
    last = select(func.max(_seen.c.id))
    with database.reading() as connection:
        # Not simply the last older one: after a clock was set back, younger rows may come before it.
        younger = connection.execute(select(func.min(_seen.c.id)).where(_seen.c.at >= before)).scalar()
        through = connection.execute(last if younger is None else last.where(_seen.c.id < younger)).scalar() or 0
        rows = sum(
            connection.execute(select(func.count()).select_from(table).where(table.c.id <= through)).scalar_one()
            for table in schema.REMOVABLE
        )
    return rows, through


def _remove_copies(database: Database, folder: Path, before: str) -> int:
    """Delete copies whose last inspection is older."""
    last = (
        select(_seen.c.picture)
        .where(_seen.c.kept == "copy")
        .group_by(_seen.c.picture)
        .having(func.max(_seen.c.at) < before)
    )
    with database.reading() as connection:
        names = connection.execute(last).scalars().all()
    removed = 0
    for name in names:
        file = copy_file(folder, str(name))
        if file is not None and file.is_file():
            file.unlink()
            removed += 1
    return removed
