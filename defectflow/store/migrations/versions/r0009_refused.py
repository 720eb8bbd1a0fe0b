"""Refused: what a receiver has refused for good and was set aside for it, until it is told again and confirmed."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"

_number = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    op.create_table(
        "refused",
        sa.Column("channel", sa.Text, primary_key=True),
        sa.Column("number", _number, primary_key=True, autoincrement=False),
        sa.Column("at", sa.Text, nullable=False),
        sa.Column("why", sa.Text, nullable=False),
        sa.Column("again", sa.SmallInteger, nullable=False),
    )
