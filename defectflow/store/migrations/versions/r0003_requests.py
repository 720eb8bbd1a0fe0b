"""Requests that may be repeated, and what a line knows of a picture: its lot and its camera."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_number = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    for name in ("lot", "camera"):
        op.add_column("inspections", sa.Column(name, sa.Text))
    op.create_table(
        "requests",
        *(sa.Column(name, sa.Text, primary_key=True) for name in ("client", "key")),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("at", "digest")),
        *(sa.Column(name, _number, nullable=False) for name in ("first", "last")),
    )
