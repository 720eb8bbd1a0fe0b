"""What was inspected, what people said about it, and which thresholds held: a log that cannot be altered unnoticed.

    store = Store.open("inspections.db")
    store.record(card, [Seen("a.png", verdict, part="17")], by="anna", source="ui")
    for part in store.reviews.queue(card.bundle_id): ...

The path of a row:

    store       verdicts -> rows of `inspections`: `Store.record`
    query       what may be asked of them
    history     rows -> search, counts, yield, a part's story, CSV
    reviews     a queue -> answers, who and when
    versions    calibrations and which of them holds
    in_force    settings and the model at work, at one moment
    users       who may do what
    requests    what was recorded under which key of a client, so that repeating it adds nothing
    outbox      rows -> what the plant's systems have not been told yet
    model_changes   notes about models, new names, deletions
    alarms      what a service could not do, and when it could again
    agreement   parts that people judge blind, twice -> who answered what
    masters     master parts and their checks -> may a model judge?
    recalibration   answers -> new thresholds (preview, apply, roll back), and parts to train on
    drift       scores -> has production moved?

Beneath them: schema (tables), chain (each row is bound to the one before), database (SQLite or PostgreSQL, one writer
at a time), retention. Beside `defectflow.line`; never torch.
"""

from defectflow.store.agreement import AgreementAnswer, AgreementPart, AgreementStudy, Asked
from defectflow.store.alarms import Alarms
from defectflow.store.database import is_sqlite
from defectflow.store.history import Every, KindCount, Story, YieldCount, total
from defectflow.store.in_force import InForce
from defectflow.store.masters import JudgedMaster, MasterPart, MasterRun, MasterSet, Release
from defectflow.store.model_changes import ModelChange, ModelChanges
from defectflow.store.outbox import Outbox
from defectflow.store.query import Query
from defectflow.store.requests import Entry, RequestKey
from defectflow.store.reviews import LONGEST_COMMENT, LONGEST_KIND, Reviews, standing_answers, waiting_parts
from defectflow.store.rows import (
    SERVICE,
    Alarm,
    Answer,
    ChannelState,
    Inspection,
    PartInspection,
    Refused,
    Review,
    Seen,
    product_in,
)
from defectflow.store.settings import GoldenSettings, ReviewSettings, StoreSettings
from defectflow.store.standing import Answered
from defectflow.store.store import Store
from defectflow.store.users import Role, User
from defectflow.store.versions import FOUND, Activation, CalibrationVersion, Versions

__all__ = [
    "FOUND",
    "LONGEST_COMMENT",
    "LONGEST_KIND",
    "SERVICE",
    "Activation",
    "AgreementAnswer",
    "AgreementPart",
    "AgreementStudy",
    "Alarm",
    "Alarms",
    "Answer",
    "Answered",
    "Asked",
    "CalibrationVersion",
    "ChannelState",
    "Entry",
    "Every",
    "GoldenSettings",
    "InForce",
    "Inspection",
    "JudgedMaster",
    "KindCount",
    "MasterPart",
    "MasterRun",
    "MasterSet",
    "ModelChange",
    "ModelChanges",
    "Outbox",
    "PartInspection",
    "Query",
    "Refused",
    "Release",
    "RequestKey",
    "Review",
    "ReviewSettings",
    "Reviews",
    "Role",
    "Seen",
    "Store",
    "StoreSettings",
    "Story",
    "User",
    "Versions",
    "YieldCount",
    "chain",
    "drift",
    "is_sqlite",
    "product_in",
    "recalibration",
    "schema",
    "standing_answers",
    "total",
    "waiting_parts",
]
