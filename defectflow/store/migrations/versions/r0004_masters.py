"""Master parts, and what was made of them at the start of each shift."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

_number = sa.BigInteger().with_variant(sa.Integer, "sqlite")
SETS, RUNS = "master_sets", "master_runs"


def upgrade() -> None:
    _table(SETS, *_required("at", "by", "model", "bundle_id", "body"))
    _table(
        RUNS,
        *_required("at", "by", "model", "bundle_id", "calibration_id", "body"),
        sa.Column("set_id", _number, nullable=False),
        *(sa.Column(name, sa.SmallInteger, nullable=False) for name in ("passed", "in_control")),
    )


def _required(*names: str) -> tuple[sa.Column[str], ...]:
    return tuple(sa.Column(name, sa.Text, nullable=False) for name in names)


def _table(name: str, *columns: sa.Column[Any]) -> None:
    """A table of the chain: its rows are never changed and never removed."""
    op.create_table(name, sa.Column("id", _number, primary_key=True, autoincrement=False), *columns)
    op.create_index(f"{name}_bundle", name, ["bundle_id"])
    if op.get_bind().dialect.name == "sqlite":
        refuse = f"BEGIN SELECT RAISE(ABORT, '{name} is append-only'); END"
    else:
        refuse = "FOR EACH ROW EXECUTE FUNCTION defectflow_refuse()"
    op.execute(f"CREATE TRIGGER {name}_unchanged BEFORE UPDATE ON {name} {refuse}")
    op.execute(f"CREATE TRIGGER {name}_kept BEFORE DELETE ON {name} {refuse}")
