"""What people noted about a model or said of it, and that it was renamed or deleted. What it judged by: versions.py."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from sqlalchemy import select

from defectflow.bundle import Card
from defectflow.errors import StoreError
from defectflow.store import chain, schema
from defectflow.store.database import Database
from defectflow.store.rows import read, stamped_now

Change = Literal["note", "described", "renamed", "deleted"]
"""`described`: what its card says beside scores and thresholds, as its scale, of a model that is not at work."""
LONGEST_NOTE = 2000
"""Characters."""

_changes = schema.model_changes


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelChange:
    """One row about a model."""

    id: int
    at: datetime
    by: str
    model: str
    """What it was called until then."""
    bundle_id: str
    change: Change
    said: str
    """The note, which may be empty to take it back; what its card says now; the new name; or why it was deleted."""


class ModelChanges:
    """Notes, descriptions, new names and deletions of models. Never overwritten."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def write(self, card: Card, change: Change, said: str, *, by: str) -> None:
        """Raises StoreError for a note that is too long, and where the store cannot be written."""
        if len(said) > LONGEST_NOTE:
            raise StoreError(f"a note of {len(said)} characters; at most {LONGEST_NOTE} are kept, so shorten it")
        row = {"at": stamped_now(), "by": by, "model": card.name, "bundle_id": card.bundle_id}
        with self._database.writing() as connection:
            chain.append(connection, _changes, [{**row, "change": change, "said": said}])

    def all(self, bundle_id: str) -> list[ModelChange]:
        """Everything about a model, newest first."""
        wanted = select(_changes).where(_changes.c.bundle_id == bundle_id).order_by(_changes.c.id.desc())
        with self._database.reading() as connection:
            return [read(ModelChange, row) for row in connection.execute(wanted).mappings()]

    def note(self, bundle_id: str) -> ModelChange | None:
        """What stands noted about a model; None where nothing does."""
        last = next((one for one in self.all(bundle_id) if one.change == "note"), None)
        return last if last is not None and last.said else None
