"""Channels: how far each of the plant's systems has been told what was inspected, and which process tells it."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

_number = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    op.create_table(
        "channels",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("told", _number, nullable=False),
        sa.Column("owner", sa.Text),
        sa.Column("held_until", sa.Text),
    )
