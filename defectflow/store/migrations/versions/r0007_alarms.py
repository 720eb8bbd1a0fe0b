"""Alarms: what a service could not do, and when it could again."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

_number = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    op.create_table(
        "alarms",
        sa.Column("id", _number, primary_key=True, autoincrement=False),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("at", "by", "kind", "subject")),
        sa.Column("raised", sa.SmallInteger, nullable=False),
        sa.Column("message", sa.Text, nullable=False),
    )
    if op.get_bind().dialect.name == "sqlite":
        refuse = "BEGIN SELECT RAISE(ABORT, 'alarms is append-only'); END"
    else:
        refuse = "FOR EACH ROW EXECUTE FUNCTION defectflow_refuse()"
    op.execute(f"CREATE TRIGGER alarms_unchanged BEFORE UPDATE ON alarms {refuse}")
    op.execute(f"CREATE TRIGGER alarms_kept BEFORE DELETE ON alarms {refuse}")
