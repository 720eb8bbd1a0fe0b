"""What holds now: the store's settings and the model at work. Asked for with every batch: one small statement."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, Table, func, select

from defectflow.store import schema
from defectflow.store.database import Database
from defectflow.store.rows import read
from defectflow.store.settings import StoreSettings
from defectflow.store.versions import Activation


@dataclass(frozen=True, slots=True)
class InForce:
    """As it stood at one moment."""

    settings: StoreSettings
    active: Activation | None
    """The model that was activated last."""


class InForceReader:
    """Reads rows again only where there is a newer one, of whatever process. Thread-safe."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._read: tuple[tuple[int | None, int | None], InForce] | None = None

    def __call__(self) -> InForce:
        """Raises StoreError."""
        known = self._read
        with self._database.reading() as connection:
            newest = connection.execute(_NEWEST).one()
            numbers = (newest.settings, newest.activations)
            if known is not None and known[0] == numbers:
                return known[1]
            body = connection.execute(_last(schema.settings)).mappings().first()
            active = connection.execute(_last(schema.activations)).mappings().first()
        settings = StoreSettings() if body is None else StoreSettings.model_validate_json(body["body"])
        held = InForce(settings, None if active is None else read(Activation, active))
        self._read = (numbers, held)
        return held


def _last(table: Table) -> Select[Any]:
    return select(table).order_by(table.c.id.desc()).limit(1)


_NEWEST = select(
    *(
        select(func.max(table.c.id)).scalar_subquery().label(table.name)
        for table in (schema.settings, schema.activations)
    )
)
