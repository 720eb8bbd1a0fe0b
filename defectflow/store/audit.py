"""A part's name and a secret -> whether a person judges it, whatever the model says.

The draw is a keyed hash of the part's name: the same for all pictures of a part and in every process, independent of
the score, and not to be foreseen without the store's secret.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from functools import cached_property

from sqlalchemy import insert, select

from defectflow.store import schema
from defectflow.store.database import Database

SALT = "audit"


class AuditDraw:
    """The audit sample of one store."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def draws(self, part: str, rate: float) -> bool:
        """Whether a part of this name belongs to a sample of this rate. Larger samples hold the smaller ones."""
        return self.uniform("audit", part) < rate

    def uniform(self, *words: str) -> float:
        """In [0, 1): a hash of the words, keyed with the store's secret."""
        digest = hmac.digest(self._salt, "\0".join(words).encode("utf-8", "surrogatepass"), hashlib.sha256)
        return (int.from_bytes(digest[:8], "big") >> 11) / 2**53

    @cached_property
    def _salt(self) -> bytes:
        wanted = select(schema.secrets.c.value).where(schema.secrets.c.name == SALT)
        with self._database.reading() as connection:
            salt = connection.execute(wanted).scalar()
        if salt is None:
            with self._database.writing() as connection:
                salt = connection.execute(wanted).scalar()  # another process may have been first
                if salt is None:
                    salt = secrets.token_hex(32)
                    connection.execute(insert(schema.secrets).values(name=SALT, value=salt))
        return bytes.fromhex(salt)
