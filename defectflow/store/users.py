"""Names and passwords -> who may do what. Passwords are kept as argon2 hashes; guessing is slowed down."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from sqlalchemy import Connection, Row, delete, insert, select, update

from defectflow.errors import AccessError, StoreError
from defectflow.store import chain, schema
from defectflow.store.database import Database
from defectflow.store.rows import stamp, stamped_now

SHORTEST_PASSWORD = 10
FAILURES = 5
"""Wrong passwords in a row after which a name has to wait at one address. At others it does not: whoever types wrong
passwords elsewhere locks nobody out."""
NAME_FAILURES = 50
"""Wrong passwords from all addresses together after which a name has to wait wherever it is tried."""
WAIT = timedelta(minutes=15)
LONGEST_NAME = 64
MOST_COUNTED = 10_000
"""Rows about names that nobody has: beyond that, strangers tried longest ago are forgotten; users never."""
STRANGER = "?"
"""Marks names that no one has, among those whose attempts are counted."""

_users, _failed = schema.users, schema.sign_ins
_hasher = PasswordHasher()


class Role(StrEnum):
    """Who may do what; each may do what those before may."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ENGINEER = "engineer"

    def allows(self, needed: Role) -> bool:
        order = list(Role)
        return order.index(self) >= order.index(needed)


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A person who may sign in."""

    name: str
    role: Role
    since: datetime
    key: int
    """Number of the row that set the password: another one after each change, so that sessions from before can end."""


class Users:
    """Who may sign in. Every change is a row of the log; failed sign-ins are counted beside it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def any(self) -> bool:
        """Whether anybody can sign in."""
        return bool(self.all())

    def all(self) -> list[User]:
        """By name."""
        with self._database.reading() as connection:
            rows = connection.execute(select(_users).order_by(_users.c.id)).all()
        found = _standing(rows)
        return [found[name][0] for name in sorted(found)]

    def get(self, name: str) -> User | None:
        with self._database.reading() as connection:
            return self._find(connection, name)[0]

    def add(self, name: str, role: Role, password: str, *, by: str) -> User:
        """Raises StoreError: the name is taken or unusable, or the password too short."""
        if not name or name != name.strip() or len(name) > LONGEST_NAME or not name.isprintable():
            raise StoreError(f"user name {name!r}: give 1 to {LONGEST_NAME} printable characters, no space around them")
        hashed = _hash(password)
        with self._database.writing() as connection:
            if self._find(connection, name)[0] is not None:
                raise StoreError(f"user {name!r} exists already; choose another name, or change the role or password")
            _write(connection, name, by, role=Role(role), password_hash=hashed)
            _forget_attempts(connection, name)
            return _known(self._find(connection, name)[0], name)

    def set_role(self, name: str, role: Role, *, by: str) -> User:
        """Raises StoreError: no such user."""
        with self._database.writing() as connection:
            _, hashed = self._known(connection, name)
            _write(connection, name, by, role=Role(role), password_hash=hashed)
            return _known(self._find(connection, name)[0], name)

    def set_password(self, name: str, password: str, *, by: str) -> None:
        """Also lets a name in again that has to wait. Raises StoreError: no such user, or too short a password."""
        hashed = _hash(password)
        with self._database.writing() as connection:
            user, _ = self._known(connection, name)
            _write(connection, name, by, role=user.role, password_hash=hashed)
            _forget_attempts(connection, name)

    def remove(self, name: str, *, by: str) -> None:
        """Remove a user. What they wrote stays in the log. Raises StoreError: no such user."""
        with self._database.writing() as connection:
            self._known(connection, name)
            _write(connection, name, by, role=None, password_hash=None)

    def authenticate(self, name: str, password: str, *, address: str = "") -> User:
        """The user. Raises AccessError: wrong, or too many wrong ones before, with the time to wait.

        `address`: where it is tried from. Wrong passwords count by name and address, FAILURES of them, and by name
        alone, NAME_FAILURES. A name that nobody has is counted, takes as long, and has to wait like any other: names
        cannot be told apart.
        """
        # Counted as failed before it is tried: guesses sent all at once would otherwise all be tried.
        with self._database.writing() as connection:
            user, hashed = self._find(connection, name)
            _count_attempt(connection, name, address, stranger=user is None)
        right = _matches(hashed, password)
        if user is None or not right:
            raise AccessError("user name or password is wrong")
        with self._database.writing() as connection:
            _take_back(connection, name, address)
        return user

    def _known(self, connection: Connection, name: str) -> tuple[User, str]:
        user, hashed = self._find(connection, name)
        return _known(user, name), hashed or ""

    def _find(self, connection: Connection, name: str) -> tuple[User | None, str | None]:
        rows = connection.execute(select(_users).where(_users.c.name == name).order_by(_users.c.id)).all()
        return _standing(rows).get(name, (None, None))


def _standing(rows: Sequence[Row[Any]]) -> dict[str, tuple[User, str]]:
    """Name -> the user and the password's hash, as the rows in their order leave them."""
    found: dict[str, tuple[User, str]] = {}
    for row in rows:
        before = found.pop(row.name, None)
        if row.role is not None:
            since = datetime.fromisoformat(row.at) if before is None else before[0].since
            same = before is not None and before[1] == row.password_hash
            key = before[0].key if before is not None and same else row.id
            found[row.name] = User(name=row.name, role=Role(row.role), since=since, key=key), row.password_hash
    return found


def _known(user: User | None, name: str) -> User:
    if user is None:
        raise StoreError(f"user {name!r} does not exist; defectflow users list shows those who do")
    return user


def _write(connection: Connection, name: str, by: str, *, role: Role | None, password_hash: str | None) -> None:
    row = {"at": stamped_now(), "by": by, "name": name, "password_hash": password_hash}
    chain.append(connection, _users, [row | {"role": None if role is None else role.value}])


def _counted(name: str, *, stranger: bool = False) -> str:
    """Under which name attempts are counted: as a digest, since passwords are typed into the wrong field, too."""
    return f"{STRANGER if stranger else ''}{_digest(name)}"


def _counted_at(counted: str, address: str) -> str:
    """The same, at one address."""
    return f"{counted}@{_digest(address)}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _count_attempt(connection: Connection, name: str, address: str, *, stranger: bool) -> None:
    """One more failure, unless this one turns out right. Raises AccessError where there were too many."""
    now, counted = datetime.now(UTC), _counted(name, stranger=stranger)
    limits = {_counted_at(counted, address): FAILURES, counted: NAME_FAILURES}
    failures = {key: _failures(connection, key, limit, now) for key, limit in limits.items()}
    _make_room(connection, now)
    connection.execute(delete(_failed).where(_failed.c.name.in_(failures)))
    rows = [{"name": key, "failures": before + 1, "last_at": stamp(now)} for key, before in failures.items()]
    connection.execute(insert(_failed), rows)


def _failures(connection: Connection, key: str, limit: int, now: datetime) -> int:
    """How many failures are counted, without a longer break. Raises AccessError where they reach the limit."""
    row = connection.execute(select(_failed).where(_failed.c.name == key)).first()
    over_at = now if row is None else datetime.fromisoformat(row.last_at) + WAIT
    if row is None or over_at <= now:
        return 0
    if row.failures >= limit:
        minutes = -(-(over_at - now) // timedelta(minutes=1))
        raise AccessError(f"{limit} wrong passwords in a row; wait {minutes} minutes, or have the password set anew")
    return int(row.failures)


def _take_back(connection: Connection, name: str, address: str) -> None:
    """The right password came: nothing counts at this address any more, and elsewhere all but this attempt."""
    counted = _counted(name)
    connection.execute(delete(_failed).where(_failed.c.name == _counted_at(counted, address)))
    connection.execute(update(_failed).where(_failed.c.name == counted).values(failures=_failed.c.failures - 1))


def _forget_attempts(connection: Connection, name: str) -> None:
    """A new password: nothing counts any more, at no address."""
    connection.execute(delete(_failed).where(_failed.c.name.startswith(_counted(name))))


def _make_room(connection: Connection, now: datetime) -> None:
    """Forget what is over; and, where somebody tries names without end, the strangers tried longest ago."""
    connection.execute(delete(_failed).where(_failed.c.last_at < stamp(now - WAIT)))
    strangers = select(_failed.c.name).where(_failed.c.name.startswith(STRANGER))
    beyond = strangers.order_by(_failed.c.last_at.desc()).offset(MOST_COUNTED).limit(MOST_COUNTED)
    connection.execute(delete(_failed).where(_failed.c.name.in_(beyond)))


def _hash(password: str) -> str:
    if len(password) < SHORTEST_PASSWORD:
        raise StoreError(f"a password of {len(password)} characters is too short; give at least {SHORTEST_PASSWORD}")
    return _hasher.hash(password)


def _matches(hashed: str | None, password: str) -> bool:
    if hashed is None:
        _hasher.hash(password)
        return False
    try:
        return _hasher.verify(hashed, password)
    except (VerificationError, InvalidHashError):
        return False
