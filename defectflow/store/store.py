"""Verdicts -> permanent rows. The store's entry point: open, record, settings, retention, verification.

Without a store, `score` writes files only: line/journal.py and line/tables.py.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any

from defectflow.bundle import Card, file_digest
from defectflow.errors import ImageError
from defectflow.image import pixel_digest, read_raw
from defectflow.store import chain, schema
from defectflow.store.agreement import Agreement
from defectflow.store.alarms import Alarms
from defectflow.store.audit import AuditDraw
from defectflow.store.copies import Copies, Kept
from defectflow.store.database import Database
from defectflow.store.history import History
from defectflow.store.in_force import InForce, InForceReader
from defectflow.store.masters import Masters
from defectflow.store.model_changes import ModelChanges
from defectflow.store.outbox import Outbox
from defectflow.store.requests import Entry, Requests, write_entries
from defectflow.store.retention import retain
from defectflow.store.reviews import Reviews
from defectflow.store.rows import ChannelState, Inspection, Seen, stamped_now
from defectflow.store.settings import StoreSettings
from defectflow.store.users import Users
from defectflow.store.versions import Versions, digests_of
from defectflow.verdict import Verdict


class Store:
    """An open store. Safe to use from several threads, and from several processes at once."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.history = History(database)
        self.reviews = Reviews(database)
        self.versions = Versions(database)
        self.users = Users(database)
        self.requests = Requests(database)
        self.outbox = Outbox(database)
        self.alarms = Alarms(database)
        self.masters = Masters(database)
        self.model_changes = ModelChanges(database)
        self._in_force = InForceReader(database)
        self._known: set[tuple[str, ...]] = set()
        """Bundles and calibrations that are certainly written; no calibration is ever removed."""
        self._audit = AuditDraw(database)
        self.agreement = Agreement(database, self._audit)
        self._copies = Copies(database)

    @classmethod
    def open(cls, url: str, *, create: bool = True) -> Store:
        """Open a store, or begin one. `url`: a path, or postgresql://user:password@host/database.

        With `create=False`, what is not there or is not a store is refused and left unchanged: whoever only looks has
        mistyped its name. An older schema is brought up to date.

        Raises StoreError saying what is wrong with the URL or the database.
        """
        return cls(Database(url, create=create))

    def close(self) -> None:
        self.database.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    @property
    def settings(self) -> StoreSettings:
        """As they stand now; another process may have changed them."""
        return self._in_force().settings

    def in_force(self) -> InForce:
        """The settings and the model at work as they stand now, of one moment."""
        return self._in_force()

    def configure(self, settings: StoreSettings, *, by: str) -> None:
        """New settings from now on. Raises StoreError if copies would have no place to go."""
        if settings.pictures == "copy":
            self._copies.folder(settings)
        with self.database.writing() as connection:
            row = {"at": stamped_now(), "by": by, "body": settings.model_dump_json()}
            chain.append(connection, schema.settings, [row])

    def record(self, card: Card, seen: Sequence[Seen], *, by: str, source: str) -> list[int]:
        """Write what the model of `card` made of some pictures, all or none; their numbers, in order.

        Each part draws here whether it belongs to the audit sample, whatever its score. The bundle's calibration is
        written before its first verdict, so that it can always be returned to.
        Raises NotCalibrated, and StoreError where the store cannot be written.
        """
        (written,) = self.record_all([Entry(card=card, seen=tuple(seen), by=by, source=source)])
        return [inspection.id for inspection in written]

    def record_all(
        self, entries: Sequence[Entry], *, settings: StoreSettings | None = None
    ) -> list[tuple[Inspection, ...]]:
        """As `record`, for several callers in one transaction: the rows of each, in order.

        `settings`: those in force, where the caller has just read them.
        An entry whose key was recorded already is not written again; its rows are those of then.
        Raises KeyReused where that was another request. Then nothing is written, of no entry.
        """
        settings = settings or self.settings
        cards = {id(card): card for entry in entries for item in entry.seen if (card := item.card or entry.card)}
        digests = {key: digests_of(card) for key, card in cards.items()}
        rows = [
            [
                self._row(item, settings)
                | {**digests[id(item.card or entry.card)], "by": entry.by, "source": entry.source}
                for item in entry.seen
            ]
            for entry in entries
        ]
        new = {key: cards[key] for key in cards if tuple(digests[key].values()) not in self._known}
        with self.database.writing() as connection:
            for card in new.values():
                self.versions.ensure_known(connection, card, by=entries[0].by)
            written = write_entries(connection, entries, rows)
        self._known.update(tuple(digests[key].values()) for key in new)
        return written

    def picture(self, inspection: Inspection) -> Path | None:
        """Where an inspection's picture can be read now; None where none was kept, or it is gone."""
        return self._copies.find(inspection, self.settings)

    def kept_as(self, *, temporary: bool) -> Kept | None:
        """How a picture recorded now can be looked at later; None: not at all. `temporary`: its file will go."""
        return self._copies.kept_as(self.settings, temporary=temporary)

    def fair_coin(self, *words: str) -> float:
        """A number in [0, 1) that depends on the words and on this store's secret alone."""
        return self._audit.uniform(*words)

    def head(self) -> chain.Head:
        """The log's last line: another one as soon as anything is written."""
        with self.database.reading() as connection:
            return chain.head(connection)

    def verify(self, *, noted: chain.Head | None = None) -> chain.Verification:
        """Read the whole log: is every row as it was written? `noted`: a head of earlier."""
        with self.database.examining() as connection:
            return chain.verify(connection, noted=noted)

    def retain(self, *, by: str, now: datetime | None = None) -> tuple[int, int]:
        """Remove what the settings no longer want kept; how many rows and picture copies went."""
        settings = self.settings
        copies = self._copies.folder(settings) if self._copies.has_folder(settings) else None
        return retain(self.database, settings, copies, by=by, now=now or datetime.now(UTC))

    def kept_for_channels(self, *, now: datetime | None = None) -> list[ChannelState]:
        """Channels for which rows stay that are older than the settings want kept."""
        days = self.settings.keep_rows_days
        if days is None:
            return []
        before = (now or datetime.now(UTC)) - timedelta(days=days)
        return [one for one in self.outbox.channels() if one.since is not None and one.since < before]

    def _row(self, seen: Seen, settings: StoreSettings) -> dict[str, Any]:
        item = seen.item
        sha256 = item.sha256 if isinstance(item, Verdict) else None
        if sha256 is None and isinstance(item, Verdict) and seen.picture is not None:
            sha256 = file_digest(seen.picture)
        # Unnamed parts are told apart by their picture: another day's IMG_001.png is another part.
        part = seen.part or (f"picture {sha256[:16]}" if sha256 and not seen.unread_before else seen.file)
        # What could not be read has no score, so that leaving it out keeps the draw independent of scores.
        audit = isinstance(item, Verdict) and self._audit.draws(part, settings.review.audit_rate)
        kept, picture = self._copies.keep(seen, sha256, settings)
        row: dict[str, Any] = {
            "file": seen.file,
            "part": part,
            "part_known": int(seen.part is not None),
            "sha256": sha256,
            "kept": kept,
            "picture": picture,
            "audit": int(audit),
            "lot": seen.lot,
            "camera": seen.camera,
        }
        if isinstance(item, ImageError):
            return row | {"decision": "error", "error": str(item)}
        if audit and seen.picture is not None:  # such a part may calibrate, unless the fit has seen its pixels
            with suppress(ImageError):  # moved away since: then it will not calibrate
                row["pixel_sha256"] = pixel_digest(read_raw(seen.picture))
        return row | {
            "decision": item.decision.word,
            "score": item.score,
            "p_value": item.p_value,
            "distance": item.distance,
            "distance_limit": item.distance_limit,
            "threshold": item.threshold,
            "review_threshold": item.review_threshold,
            "pixel_threshold": item.pixel_threshold,
            "peak": float(item.anomaly_map.max()),
            "regions": json.dumps([asdict(region) for region in item.regions()]),
            "height_px": item.height_px,
            "width_px": item.width_px,
            "milliseconds": item.milliseconds,
        }
