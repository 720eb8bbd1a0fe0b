"""Notes about models, and that they were renamed or deleted."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"

TABLE = "model_changes"


def upgrade() -> None:
    op.create_table(
        TABLE,
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=False),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("at", "by", "model", "bundle_id", "change", "said")),
    )
    op.create_index("model_changes_bundle", TABLE, ["bundle_id"])
    if op.get_bind().dialect.name == "sqlite":
        refuse = f"BEGIN SELECT RAISE(ABORT, '{TABLE} is append-only'); END"
        op.execute(f"CREATE TRIGGER {TABLE}_unchanged BEFORE UPDATE ON {TABLE} {refuse}")
        op.execute(f"CREATE TRIGGER {TABLE}_kept BEFORE DELETE ON {TABLE} {refuse}")
        return
    refuse = "FOR EACH ROW EXECUTE FUNCTION defectflow_refuse()"
    op.execute(f"CREATE TRIGGER {TABLE}_unchanged BEFORE UPDATE ON {TABLE} {refuse}")
    op.execute(f"CREATE TRIGGER {TABLE}_kept BEFORE DELETE ON {TABLE} {refuse}")
