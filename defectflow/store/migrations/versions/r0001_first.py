"""The first schema: the chain, and what it binds."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_number = sa.BigInteger().with_variant(sa.Integer, "sqlite")
CHAINED = ("inspections", "reviews", "calibrations", "activations", "users", "settings", "removals")
REMOVABLE = ("inspections", "reviews")


def _required(kind: type[sa.types.TypeEngine[Any]], *names: str) -> list[sa.Column[Any]]:
    return [sa.Column(name, kind, nullable=False) for name in names]


def _optional(kind: type[sa.types.TypeEngine[Any]], *names: str) -> list[sa.Column[Any]]:
    return [sa.Column(name, kind) for name in names]


def _table(name: str, *columns: sa.Column[Any]) -> None:
    op.create_table(name, sa.Column("id", _number, primary_key=True, autoincrement=False), *columns)


def upgrade() -> None:
    _table("chain", *_required(sa.Text, "kind", "digest", "previous", "hash"))
    _table(
        "inspections",
        *_required(sa.Text, "at", "by", "source", "model", "bundle_id", "calibration_id", "file", "part"),
        *_required(sa.SmallInteger, "part_known"),
        *_optional(sa.Text, "sha256", "pixel_sha256", "kept", "picture"),
        *_required(sa.Text, "decision"),
        *_optional(sa.Double, "score", "p_value", "distance", "distance_limit"),
        *_optional(sa.Double, "threshold", "review_threshold", "pixel_threshold", "peak"),
        *_optional(sa.Text, "regions"),
        *_optional(sa.Integer, "height_px", "width_px"),
        *_optional(sa.Double, "milliseconds"),
        *_required(sa.SmallInteger, "audit"),
        *_optional(sa.Text, "error"),
    )
    op.create_index("inspections_part", "inspections", ["bundle_id", "part"])
    op.create_index("inspections_at", "inspections", ["at"])
    op.create_index("inspections_sha256", "inspections", ["sha256"])
    _table(
        "reviews",
        *_required(sa.Text, "at", "by"),
        sa.Column("inspection_id", _number, nullable=False),
        *_required(sa.Text, "bundle_id", "part"),
        *_optional(sa.Text, "answer", "kind", "comment"),
        sa.Column("undoes", _number),
    )
    op.create_index("reviews_part", "reviews", ["bundle_id", "part"])
    _table(
        "calibrations",
        *_required(sa.Text, "at", "by", "name", "reason", "origin", "model", "bundle_id", "calibration_id"),
        *_optional(sa.Text, "parent"),
        *_required(sa.Text, "body"),
    )
    op.create_index("calibrations_name", "calibrations", ["bundle_id", "name"], unique=True)
    _table("activations", *_required(sa.Text, "at", "by", "reason", "model", "bundle_id", "calibration_id", "path"))
    _table("users", *_required(sa.Text, "at", "by", "name"), *_optional(sa.Text, "role", "password_hash"))
    op.create_index("users_name", "users", ["name"])
    _table("settings", *_required(sa.Text, "at", "by", "body"))
    _table(
        "removals",
        *_required(sa.Text, "at", "by"),
        sa.Column("through", _number, nullable=False),
        *_required(sa.Integer, "rows", "pictures"),
    )
    op.create_table("secrets", sa.Column("name", sa.Text, primary_key=True), *_required(sa.Text, "value"))
    op.create_table(
        "sign_ins",
        sa.Column("name", sa.Text, primary_key=True),
        *_required(sa.Integer, "failures"),
        *_required(sa.Text, "last_at"),
    )
    _forbid_changes()


def _forbid_changes() -> None:
    """The database itself refuses to change a row, and to remove one that no removal has announced.

    This stops slips, not somebody with the database's own rights: those the chain gives away.
    """
    announced = "OLD.id > (SELECT coalesce(max(through), 0) FROM removals)"
    if op.get_bind().dialect.name == "sqlite":
        for table in ("chain", *CHAINED):
            abort = f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
            when = f"WHEN {announced} " if table in REMOVABLE else ""
            op.execute(f"CREATE TRIGGER {table}_unchanged BEFORE UPDATE ON {table} {abort}")
            op.execute(f"CREATE TRIGGER {table}_kept BEFORE DELETE ON {table} {when}{abort}")
        return
    op.execute(
        "CREATE FUNCTION defectflow_refuse() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION '% is append-only', TG_TABLE_NAME; END $$"
    )
    op.execute(
        "CREATE FUNCTION defectflow_refuse_unannounced() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN IF {announced} THEN RAISE EXCEPTION '% is append-only', TG_TABLE_NAME; END IF; RETURN OLD; END $$"
    )
    for table in ("chain", *CHAINED):
        refuse = "defectflow_refuse_unannounced" if table in REMOVABLE else "defectflow_refuse"
        op.execute(
            f"CREATE TRIGGER {table}_unchanged BEFORE UPDATE ON {table} "
            "FOR EACH ROW EXECUTE FUNCTION defectflow_refuse()"
        )
        op.execute(f"CREATE TRIGGER {table}_kept BEFORE DELETE ON {table} FOR EACH ROW EXECUTE FUNCTION {refuse}()")
