"""Master parts of a model, what was made of them at each check, and whether the model may judge now.

Kept apart from `inspections`: a master part is no production, so it counts in no yield, no drift and no calibration.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, RowMapping, Table, select

from defectflow.bundle import Card
from defectflow.errors import NotReleased
from defectflow.store import chain, schema
from defectflow.store.database import Database
from defectflow.store.rows import stamp, stamped_now
from defectflow.store.settings import GoldenSettings
from defectflow.store.versions import digests_of
from defectflow.verdict import Word

_sets, _runs = schema.master_sets, schema.master_runs


@dataclass(frozen=True, slots=True)
class MasterPart:
    """A part that is kept to check the inspection with."""

    name: str
    expected: Word
    """What it must be judged as."""
    limits: tuple[float, float] | None
    """Stated limits of its score; None: they follow from the first checks."""
    sha256: tuple[str, ...]
    """Of its picture files, as it was registered."""


@dataclass(frozen=True, slots=True)
class MasterSet:
    """The master parts of one model. Registered anew, another set takes its place."""

    id: int
    at: datetime
    by: str
    model: str
    bundle_id: str
    baseline: int
    """So many checks give the control limits of a part whose limits are not stated."""
    parts: tuple[MasterPart, ...]


@dataclass(frozen=True, slots=True)
class JudgedMaster:
    """A master part at one check: its worst picture decides."""

    name: str
    expected: Word
    decision: Word | None
    """None: there was no picture of it."""
    score: float | None
    """Dimensionless; higher is worse. None where no picture could be read."""
    sha256: tuple[str, ...] = ()
    signal: str = ""
    """What the control chart says of this score; empty: nothing."""

    @property
    def right(self) -> bool:
        return self.decision == self.expected


@dataclass(frozen=True, slots=True)
class MasterRun:
    """One check of all master parts."""

    id: int
    at: datetime
    by: str
    model: str
    bundle_id: str
    calibration_id: str
    set_id: int
    judged: tuple[JudgedMaster, ...]

    @property
    def passed(self) -> bool:
        """Every master part was judged as expected."""
        return all(one.right for one in self.judged)

    @property
    def signals(self) -> tuple[JudgedMaster, ...]:
        return tuple(one for one in self.judged if one.signal)

    @property
    def wrong(self) -> list[str]:
        """One half-sentence for each part that was not judged as expected."""
        return [
            f"{one.name} was not pictured"
            if one.decision is None
            else f"{one.name} was {one.decision} instead of {one.expected}"
            for one in self.judged
            if not one.right
        ]


@dataclass(frozen=True, slots=True)
class Release:
    """Whether a model may judge, and why not."""

    released: bool
    reason: str
    """In a sentence, also where it is released."""
    run: MasterRun | None
    """The last check, whatever came of it."""


class Masters:
    """Sets of master parts and their checks."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def register(
        self, card: Card, parts: Sequence[MasterPart], judged: Sequence[JudgedMaster], *, baseline: int, by: str
    ) -> tuple[MasterSet, MasterRun]:
        """A new set of master parts, and its first check. Raises NotCalibrated, StoreError."""
        body = {"baseline": baseline, "parts": [asdict(part) for part in parts]}
        ids = digests_of(card)
        row = {**ids, "at": stamped_now(), "by": by, "body": json.dumps(body, sort_keys=True)}
        del row["calibration_id"]
        with self._database.writing() as connection:
            (number,) = chain.append(connection, _sets, [row])
            run = _write_run(connection, card, number, judged, by)
        return _read_set({**row, "id": number}), run

    def record(self, card: Card, masters: MasterSet, judged: Sequence[JudgedMaster], *, by: str) -> MasterRun:
        """Write one check. Raises NotCalibrated, StoreError."""
        with self._database.writing() as connection:
            return _write_run(connection, card, masters.id, judged, by)

    def current(self, bundle_id: str) -> MasterSet | None:
        """The set that holds for a model; None where none was ever registered."""
        row = self._last(_sets, bundle_id)
        return None if row is None else _read_set(row)

    def runs(self, masters: MasterSet) -> list[MasterRun]:
        """All checks of a set, oldest first."""
        wanted = select(_runs).where(_runs.c.set_id == masters.id).order_by(_runs.c.id)
        with self._database.reading() as connection:
            return [_read_run(row) for row in connection.execute(wanted).mappings()]

    def between(self, since: datetime | None, until: datetime | None, bundle_id: str | None = None) -> list[MasterRun]:
        """All checks of a time [since, until), of one model or of all, newest first."""
        wanted = select(_runs).order_by(_runs.c.id.desc())
        if since is not None:
            wanted = wanted.where(_runs.c.at >= stamp(since))
        if until is not None:
            wanted = wanted.where(_runs.c.at < stamp(until))
        if bundle_id is not None:
            wanted = wanted.where(_runs.c.bundle_id == bundle_id)
        with self._database.reading() as connection:
            return [_read_run(row) for row in connection.execute(wanted).mappings()]

    def last(self, bundle_id: str, calibration_id: str | None = None) -> MasterRun | None:
        """A model's last check; by these thresholds, where they are named."""
        row = self._last(_runs, bundle_id, calibration_id)
        return None if row is None else _read_run(row)

    def release(self, card: Card, settings: GoldenSettings, *, now: datetime | None = None) -> Release:
        """Whether the model of a card may judge, by the last check of its master parts.

        Without `settings.hours` a check holds until the next one. Raises NotCalibrated, StoreError.
        """
        now = now or datetime.now(UTC)
        run = self.last(card.bundle_id, card.calibration_id) or self.last(card.bundle_id)
        if run is None:
            return Release(
                False, f"no master parts of {card.name} were ever judged; register some first, with --register", None
            )
        masters = self.current(card.bundle_id)
        when = f"the check of {run.at:%Y-%m-%d %H:%M} UTC"
        if masters is None or masters.id != run.set_id:
            return Release(False, "the master parts were registered anew and not judged since", run)
        if run.calibration_id != card.calibration_id:
            return Release(False, f"the thresholds are others than at {when}", run)
        if not run.passed:
            return Release(False, f"{when} failed: {'; '.join(run.wrong)}", run)
        if settings.in_control and run.signals:
            told = "; ".join(f"{one.name}: {one.signal}" for one in run.signals)
            return Release(False, f"{when} is out of control: {told}", run)
        if settings.hours is not None and now - run.at > timedelta(hours=settings.hours):
            return Release(False, f"{when} is older than {settings.hours:g} hours", run)
        return Release(True, f"{when} found all {len(run.judged)} master parts as expected", run)

    def require_release(self, card: Card, settings: GoldenSettings) -> None:
        """Raises NotReleased where the settings ask for a check and the model has no good one."""
        if settings.hours is None:
            return
        found = self.release(card, settings)
        if not found.released:
            raise NotReleased(
                f"{card.name} is not released: {found.reason}. Picture the master parts anew and judge them: "
                "defectflow golden BUNDLE PICTURES --store STORE, or the page Masters of the station"
            )

    def _last(self, table: Table, bundle_id: str, calibration_id: str | None = None) -> RowMapping | None:
        wanted = select(table).where(table.c.bundle_id == bundle_id).order_by(table.c.id.desc()).limit(1)
        if calibration_id is not None:
            wanted = wanted.where(table.c.calibration_id == calibration_id)
        with self._database.reading() as connection:
            return connection.execute(wanted).mappings().first()


def _write_run(connection: Connection, card: Card, set_id: int, judged: Sequence[JudgedMaster], by: str) -> MasterRun:
    row: dict[str, Any] = {
        **digests_of(card),
        "at": stamped_now(),
        "by": by,
        "set_id": set_id,
        "passed": int(all(one.right for one in judged)),
        "in_control": int(not any(one.signal for one in judged)),
        "body": json.dumps([asdict(one) for one in judged], sort_keys=True),
    }
    (number,) = chain.append(connection, _runs, [row])
    return _read_run({**row, "id": number})


def _read_set(row: Any) -> MasterSet:
    body = json.loads(row["body"])
    parts = tuple(
        MasterPart(
            part["name"],
            part["expected"],
            None if part["limits"] is None else (part["limits"][0], part["limits"][1]),
            tuple(part["sha256"]),
        )
        for part in body["parts"]
    )
    return MasterSet(
        **_named(row, "id", "by", "model", "bundle_id"), **_at(row), baseline=body["baseline"], parts=parts
    )


def _read_run(row: Any) -> MasterRun:
    judged = tuple(JudgedMaster(**{**one, "sha256": tuple(one["sha256"])}) for one in json.loads(row["body"]))
    return MasterRun(
        **_named(row, "id", "by", "model", "bundle_id", "calibration_id", "set_id"), **_at(row), judged=judged
    )


def _named(row: Any, *names: str) -> dict[str, Any]:
    return {name: row[name] for name in names}


def _at(row: Any) -> dict[str, Any]:
    return {"at": datetime.fromisoformat(row["at"])}
