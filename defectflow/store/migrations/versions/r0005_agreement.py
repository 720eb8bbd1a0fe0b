"""Blind double reviews: what is asked of people in a study of agreement, and what each answered."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

_number = sa.BigInteger().with_variant(sa.Integer, "sqlite")
STUDIES, ANSWERS = "agreement_studies", "agreement_answers"


def upgrade() -> None:
    _table(STUDIES, _texts("at", "by", "name", "model", "bundle_id", "body"))
    op.create_index(f"{STUDIES}_bundle", STUDIES, ["bundle_id"])
    numbers = [sa.Column(name, _number, nullable=False) for name in ("study_id", "trial")]
    _table(ANSWERS, [*_texts("at", "by", "part", "answer"), *numbers])
    op.create_index(f"{ANSWERS}_study", ANSWERS, ["study_id"])


def _texts(*names: str) -> list[sa.Column[Any]]:
    return [sa.Column(name, sa.Text, nullable=False) for name in names]


def _table(name: str, columns: list[sa.Column[Any]]) -> None:
    """A table of the chain: its rows are never changed and never removed."""
    op.create_table(name, sa.Column("id", _number, primary_key=True, autoincrement=False), *columns)
    if op.get_bind().dialect.name == "sqlite":
        refuse = f"BEGIN SELECT RAISE(ABORT, '{name} is append-only'); END"
    else:
        refuse = "FOR EACH ROW EXECUTE FUNCTION defectflow_refuse()"
    op.execute(f"CREATE TRIGGER {name}_unchanged BEFORE UPDATE ON {name} {refuse}")
    op.execute(f"CREATE TRIGGER {name}_kept BEFORE DELETE ON {name} {refuse}")
