"""Calibrations as named versions, and which model and calibration is active. Never overwritten."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select

from defectflow.bundle import Bundle, CalibrationCard, Card, open_bundle, save_bundle
from defectflow.errors import StoreError
from defectflow.store import chain, schema
from defectflow.store.database import Database
from defectflow.store.rows import read, stamped_now

CALIBRATION_FIELDS = ("calibration_parts", "calibration", "good_spread", "added_digests")
"""What of a card a calibration is: put back, they restore the very thresholds."""
FOUND = "found"

_versions, _active = schema.calibrations, schema.activations


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationVersion:
    """Thresholds, the parts that they come from, and why they were set. Never overwritten."""

    id: int
    at: datetime
    by: str
    name: str
    reason: str
    origin: str
    """"found" (in the bundle, when it was first used), "rate", "threshold", "audit", ..."""
    model: str
    bundle_id: str
    calibration_id: str
    parent: str | None
    """The calibration_id that it was made from."""
    body: Mapping[str, Any]
    """The card's calibration part, whole: see `Card.calibrated`."""

    @property
    def calibration(self) -> CalibrationCard:
        """The thresholds, and what they promise."""
        return CalibrationCard.model_validate(self.body["calibration"])

    @property
    def parts(self) -> int:
        """How many good parts they rest on."""
        return len(self.body["calibration_parts"])

    def card(self, card: Card) -> Card:
        """The card with this version's calibration instead of its own."""
        fresh = Card.model_validate(card.model_dump(mode="json") | dict(self.body))
        return card.model_copy(update={name: getattr(fresh, name) for name in self.body})


@dataclass(frozen=True, slots=True, kw_only=True)
class Activation:
    """A model and calibration put to work."""

    id: int
    at: datetime
    by: str
    reason: str
    model: str
    bundle_id: str
    calibration_id: str
    path: str


class Versions:
    """All calibrations of all models, and what was activated when."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(
        self, card: Card, *, name: str, reason: str, by: str, origin: str, parent: str | None = None
    ) -> CalibrationVersion:
        """Write a card's calibration as a new version; nothing is put to work. Raises StoreError, NotCalibrated."""
        if not name.strip() or not reason.strip():
            raise StoreError("a calibration needs a name and a reason, so that it can be found and understood later")
        with self._database.writing() as connection:
            if self._find(connection, card.bundle_id, name) is not None:
                raise StoreError(f"calibration {name!r} of {card.name} exists already; choose another name")
            return self._add(connection, card, name=name, reason=reason, by=by, origin=origin, parent=parent)

    def all(self, bundle_id: str) -> list[CalibrationVersion]:
        """A model's versions, newest first."""
        wanted = select(_versions).where(_versions.c.bundle_id == bundle_id).order_by(_versions.c.id.desc())
        with self._database.reading() as connection:
            return [read(CalibrationVersion, row) for row in connection.execute(wanted).mappings()]

    def get(self, bundle_id: str, name: str) -> CalibrationVersion:
        """A model's version by its name, or by its calibration_id. Raises StoreError."""
        with self._database.reading() as connection:
            found = self._find(connection, bundle_id, name)
        if found is None:
            names = ", ".join(version.name for version in self.all(bundle_id)) or "none"
            raise StoreError(
                f"calibration {name!r}: there is none of this name for bundle {bundle_id}; there are {names}"
            )
        return found

    def apply(self, bundle: Bundle, version: CalibrationVersion, *, by: str, reason: str) -> Bundle:
        """Put a version's thresholds into the bundle, and write that it holds from now on. Also the way back.

        Raises StoreError if the version belongs to another model, or the bundle was calibrated since it was opened.
        A kill in between leaves the old thresholds or the new ones, never a mixture.
        """
        if version.bundle_id != bundle.card.bundle_id:
            raise StoreError(
                f"calibration {version.name!r} belongs to bundle {version.bundle_id}, not to {bundle.path} "
                f"({bundle.card.bundle_id}); scores of two models cannot share thresholds"
            )
        with self._database.writing() as connection:  # all the while: two who apply at once would mix their files
            before = unchanged(bundle).card
            if before.calibration is not None:
                self.ensure_known(connection, before, by=by)  # what is replaced can be returned to
            saved = save_bundle(bundle.path, version.card(bundle.card))
            _activate(connection, saved, by=by, reason=reason)
        return saved

    def activate(self, bundle: Bundle, *, by: str, reason: str) -> int:
        """Write that this bundle, with the calibration it has, is at work from now on."""
        with self._database.writing() as connection:
            self.ensure_known(connection, bundle.card, by=by)
            return _activate(connection, bundle, by=by, reason=reason)

    def activations(self, *, limit: int = 100) -> list[Activation]:
        """What was put to work, newest first."""
        with self._database.reading() as connection:
            rows = connection.execute(select(_active).order_by(_active.c.id.desc()).limit(limit)).mappings()
            return [read(Activation, row) for row in rows]

    def active(self) -> Activation | None:
        """The model at work: the one activated last."""
        return next(iter(self.activations(limit=1)), None)

    def ensure_known(self, connection: Connection, card: Card, *, by: str) -> None:
        """Write a bundle's calibration as a version if the store has not met it yet."""
        ids = digests_of(card)
        known = select(_versions.c.id).where(
            _versions.c.bundle_id == ids["bundle_id"], _versions.c.calibration_id == ids["calibration_id"]
        )
        if connection.execute(known.limit(1)).first() is None:
            reason = "the calibration that the bundle had when it was first used"
            self._add(connection, card, name=f"{FOUND} {ids['calibration_id']}", reason=reason, by=by, origin=FOUND)

    def _add(
        self,
        connection: Connection,
        card: Card,
        *,
        name: str,
        reason: str,
        by: str,
        origin: str,
        parent: str | None = None,
    ) -> CalibrationVersion:
        body = json.dumps(card.model_dump(mode="json", include=set(CALIBRATION_FIELDS)), sort_keys=True)
        row: dict[str, Any] = {"name": name, "reason": reason, "by": by, "origin": origin, "parent": parent}
        row |= {**digests_of(card), "at": stamped_now(), "body": body}
        (number,) = chain.append(connection, _versions, [row])
        return read(CalibrationVersion, row | {"id": number})

    def _find(self, connection: Connection, bundle_id: str, name: str) -> CalibrationVersion | None:
        of_model = select(_versions).where(_versions.c.bundle_id == bundle_id).order_by(_versions.c.id)
        for column in (_versions.c.name, _versions.c.calibration_id):
            row = connection.execute(of_model.where(column == name)).mappings().first()
            if row is not None:
                return read(CalibrationVersion, row)
        return None


def unchanged(bundle: Bundle) -> Bundle:
    """The bundle as it is on disk. Raises StoreError if it was calibrated since it was opened."""
    now = open_bundle(bundle.path)
    if (now.card.bundle_id, now.card.calibration_id) != (bundle.card.bundle_id, bundle.card.calibration_id):
        raise StoreError(f"{bundle.path}: was calibrated since this preview was made; make a new preview first")
    return now


def _activate(connection: Connection, bundle: Bundle, *, by: str, reason: str) -> int:
    path = str(bundle.path.resolve())
    row = {**digests_of(bundle.card), "at": stamped_now(), "by": by, "reason": reason, "path": path}
    return chain.append(connection, _active, [row])[0]


def digests_of(card: Card) -> dict[str, str]:
    """By what a row names its model and thresholds. Raises NotCalibrated."""
    card.require_calibration()  # NotCalibrated says better than we could what is missing
    return {"model": card.name, "bundle_id": card.bundle_id, "calibration_id": str(card.calibration_id)}
