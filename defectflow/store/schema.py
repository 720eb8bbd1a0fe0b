"""The tables. A change here needs a migration beside the others; rows once written are never changed.

Every row of the tables in CHAINED has a line in `chain` with its digest, bound to the line before.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Double, Index, Integer, MetaData, SmallInteger, Table, Text

metadata = MetaData()

_number = BigInteger().with_variant(Integer, "sqlite")


def _id() -> Column[int]:
    return Column("id", _number, primary_key=True, autoincrement=False)


chain = Table(
    "chain",
    metadata,
    _id(),
    Column("kind", Text, nullable=False),  # the row's table
    Column("digest", Text, nullable=False),  # of the row
    Column("previous", Text, nullable=False),  # the hash of the line before
    Column("hash", Text, nullable=False),
)

inspections = Table(
    "inspections",
    metadata,
    _id(),
    Column("at", Text, nullable=False),
    Column("by", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("bundle_id", Text, nullable=False),
    Column("calibration_id", Text, nullable=False),
    Column("file", Text, nullable=False),
    Column("part", Text, nullable=False),
    Column("part_known", SmallInteger, nullable=False),
    Column("sha256", Text),
    Column("pixel_sha256", Text),
    Column("kept", Text),
    Column("picture", Text),
    Column("decision", Text, nullable=False),
    Column("score", Double),
    Column("p_value", Double),
    Column("distance", Double),
    Column("distance_limit", Double),
    Column("threshold", Double),
    Column("review_threshold", Double),
    Column("pixel_threshold", Double),
    Column("peak", Double),
    Column("regions", Text),
    Column("height_px", Integer),
    Column("width_px", Integer),
    Column("milliseconds", Double),
    Column("audit", SmallInteger, nullable=False),
    Column("error", Text),
    Column("lot", Text),
    Column("camera", Text),
    Index("inspections_part", "bundle_id", "part"),
    Index("inspections_at", "at"),
    Index("inspections_sha256", "sha256"),
)

reviews = Table(
    "reviews",
    metadata,
    _id(),
    Column("at", Text, nullable=False),
    Column("by", Text, nullable=False),
    Column("inspection_id", _number, nullable=False),
    Column("bundle_id", Text, nullable=False),
    Column("part", Text, nullable=False),
    Column("answer", Text),
    Column("kind", Text),
    Column("comment", Text),
    Column("undoes", _number),
    Index("reviews_part", "bundle_id", "part"),
)

calibrations = Table(
    "calibrations",
    metadata,
    _id(),
    Column("at", Text, nullable=False),
    Column("by", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("origin", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("bundle_id", Text, nullable=False),
    Column("calibration_id", Text, nullable=False),
    Column("parent", Text),
    Column("body", Text, nullable=False),
    Index("calibrations_name", "bundle_id", "name", unique=True),
)

activations = Table(
    "activations",
    metadata,
    _id(),
    Column("at", Text, nullable=False),
    Column("by", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("bundle_id", Text, nullable=False),
    Column("calibration_id", Text, nullable=False),
    Column("path", Text, nullable=False),
)

users = Table(
    "users",
    metadata,
    _id(),
    Column("at", Text, nullable=False),
    Column("by", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("role", Text),  # null: removed
    Column("password_hash", Text),
    Index("users_name", "name"),
)

settings = Table(
    "settings",
    metadata,
    _id(),
    Column("at", Text, nullable=False),
    Column("by", Text, nullable=False),
    Column("body", Text, nullable=False),
)

removals = Table(
    "removals",
    metadata,
    _id(),
    Column("at", Text, nullable=False),
    Column("by", Text, nullable=False),
    Column("through", _number, nullable=False),  # rows of REMOVABLE up to this id are gone
    Column("rows", Integer, nullable=False),
    Column("pictures", Integer, nullable=False),  # copies removed
)

looked_into = Table(
    "looked_into",
    metadata,
    _id(),
    Column("at", Text, nullable=False),
    Column("by", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("bundle_id", Text, nullable=False),
    Index("looked_into_bundle", "bundle_id"),
)
"""Drift alarms of a model that somebody has seen to: all until then."""

model_changes = Table(
    "model_changes",
    metadata,
    _id(),
    Column("at", Text, nullable=False),
    Column("by", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("bundle_id", Text, nullable=False),
    Column("change", Text, nullable=False),  # note, described, renamed, deleted
    Column("said", Text, nullable=False),
    Index("model_changes_bundle", "bundle_id"),
)

master_sets = Table(
    "master_sets",
    metadata,
    _id(),
    Column("at", Text, nullable=False),
    Column("by", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("bundle_id", Text, nullable=False),
    Column("body", Text, nullable=False),
    Index("master_sets_bundle", "bundle_id"),
)
"""Sets of master parts; a model's last one holds."""

master_runs = Table(
    "master_runs",
    metadata,
    _id(),
    Column("at", Text, nullable=False),
    Column("by", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("bundle_id", Text, nullable=False),
    Column("calibration_id", Text, nullable=False),
    Column("set_id", _number, nullable=False),
    Column("passed", SmallInteger, nullable=False),
    Column("in_control", SmallInteger, nullable=False),
    Column("body", Text, nullable=False),
    Index("master_runs_bundle", "bundle_id"),
)
"""What a model made of its master parts, at the start of a shift."""

agreement_studies = Table(
    "agreement_studies",
    metadata,
    _id(),
    Column("at", Text, nullable=False),
    Column("by", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("bundle_id", Text, nullable=False),
    Column("body", Text, nullable=False),
    Index("agreement_studies_bundle", "bundle_id"),
)
"""Parts that people judge blind and more than once."""

agreement_answers = Table(
    "agreement_answers",
    metadata,
    _id(),
    Column("at", Text, nullable=False),
    Column("by", Text, nullable=False),
    Column("part", Text, nullable=False),
    Column("answer", Text, nullable=False),
    Column("study_id", _number, nullable=False),
    Column("trial", _number, nullable=False),
    Index("agreement_answers_study", "study_id"),
)
"""Apart from `reviews`: an answer of a study calibrates nothing, and stands for no part."""

alarms = Table(
    "alarms",
    metadata,
    _id(),
    Column("at", Text, nullable=False),
    Column("by", Text, nullable=False),
    Column("kind", Text, nullable=False),  # of what failed, e.g. "camera"
    Column("subject", Text, nullable=False),  # its name
    Column("raised", SmallInteger, nullable=False),  # 0: it works again
    Column("message", Text, nullable=False),
)
"""What a service could not do, and when it could again."""

secrets = Table(
    "secrets",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),
)
"""Not chained and never exported: what the audit draw depends on."""

sign_ins = Table(
    "sign_ins",
    metadata,
    Column("name", Text, primary_key=True),
    Column("failures", Integer, nullable=False),
    Column("last_at", Text, nullable=False),
)
"""Not chained: failed sign-ins in a row, so that they can be limited."""

requests = Table(
    "requests",
    metadata,
    Column("client", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("at", Text, nullable=False),
    Column("digest", Text, nullable=False),  # of all that was asked
    Column("first", _number, nullable=False),  # the inspections from this number
    Column("last", _number, nullable=False),  # to this one
)
"""Not chained: under which key a client has sent which inspections, so that a repeated request is recorded once."""

channels = Table(
    "channels",
    metadata,
    Column("name", Text, primary_key=True),
    Column("told", _number, nullable=False),  # inspections and alarms up to this number
    Column("owner", Text),  # the process that tells
    Column("held_until", Text),  # and until when nobody else does
)
"""Not chained: how far each of the plant's systems has been told what was inspected, and which alarms there were."""

refused = Table(
    "refused",
    metadata,
    Column("channel", Text, primary_key=True),
    Column("number", _number, primary_key=True, autoincrement=False),  # of the inspection or alarm
    Column("at", Text, nullable=False),  # when it was refused last
    Column("why", Text, nullable=False),
    Column("again", SmallInteger, nullable=False),  # 1: it is to be told again
)
"""Not chained: what a receiver refuses while it accepts others. A row goes when its receiver has confirmed it,
or with its inspection."""

CHAINED = (
    *(inspections, reviews, calibrations, activations, users, settings, removals, looked_into),
    *(master_sets, master_runs, agreement_studies, agreement_answers, alarms, model_changes),
)
REMOVABLE = (inspections, reviews)
"""What retention may remove: the lines in `chain` stay."""
