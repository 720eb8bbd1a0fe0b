"""What a service could not do, and when it could again: kept like inspections, and told to the plant's systems."""

from __future__ import annotations

from sqlalchemy import select

from defectflow.store import chain, schema
from defectflow.store.database import Database
from defectflow.store.rows import Alarm, read, stamped_now

_alarms = schema.alarms


class Alarms:
    """Alarms, oldest first. Safe to use from several threads."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def record(self, *, kind: str, subject: str, raised: bool, message: str) -> int:
        """Its number. Raises StoreError where the store cannot be written."""
        row = {
            "at": stamped_now(),
            "by": f"{kind} {subject}",
            "kind": kind,
            "subject": subject,
            "raised": int(raised),
            "message": message,
        }
        with self._database.writing() as connection:
            return chain.append(connection, _alarms, [row])[0]

    def all(self) -> list[Alarm]:
        """Raises StoreError."""
        with self._database.reading() as connection:
            return [read(Alarm, row) for row in connection.execute(select(_alarms).order_by(_alarms.c.id)).mappings()]
