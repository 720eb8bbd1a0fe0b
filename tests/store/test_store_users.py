"""Who may sign in, and how guessing is slowed down."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from threading import Thread

import pytest
from argon2 import PasswordHasher
from sqlalchemy import func, select

from defectflow.errors import AccessError, StoreError
from defectflow.store import Role, Store, schema, users

PASSWORD = "correct horse battery"


@pytest.fixture
def quick_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Argon2 at a thousandth of its cost."""
    monkeypatch.setattr(users, "_hasher", PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))


@pytest.mark.usefixtures("quick_hashes")
def test_users_and_roles(store_url: str) -> None:
    with Store.open(store_url) as store:
        assert not store.users.any()
        store.users.add("anna", Role.OPERATOR, PASSWORD, by="root")
        store.users.add("bert", Role.VIEWER, PASSWORD, by="root")
        with pytest.raises(StoreError, match="exists already"):
            store.users.add("anna", Role.VIEWER, PASSWORD, by="root")
        assert store.users.set_role("anna", Role.ENGINEER, by="root").role is Role.ENGINEER
        store.users.remove("bert", by="root")
    with Store.open(store_url) as again:
        assert [(user.name, user.role) for user in again.users.all()] == [("anna", Role.ENGINEER)]
        assert again.users.authenticate("anna", PASSWORD).role is Role.ENGINEER
        with pytest.raises(AccessError, match="wrong"):
            again.users.authenticate("bert", PASSWORD)
        with pytest.raises(StoreError, match="does not exist"):
            again.users.set_role("bert", Role.VIEWER, by="root")
        again.users.add("bert", Role.VIEWER, PASSWORD, by="root")
        assert again.users.get("bert") is not None, "somebody new may have the name of one who left"
        assert again.verify().passed


def test_passwords_are_hashed(store: Store) -> None:
    store.users.add("anna", Role.VIEWER, PASSWORD, by="root")
    with store.database.reading() as connection:
        kept = connection.execute(select(schema.users.c.password_hash)).scalar_one()
    assert kept.startswith("$argon2id$")
    assert PASSWORD not in kept


@pytest.mark.parametrize(("name", "password"), [("", PASSWORD), (" a", PASSWORD), ("a\nb", PASSWORD), ("a", "short")])
def test_unusable_names_and_passwords(store: Store, name: str, password: str) -> None:
    with pytest.raises(StoreError, match=r"printable characters|too short"):
        store.users.add(name, Role.VIEWER, password, by="root")
    assert not store.users.any()


def test_roles_are_ordered() -> None:
    assert [[role.allows(needed) for needed in Role] for role in Role] == [
        [True, False, False],
        [True, True, False],
        [True, True, True],
    ]


@pytest.mark.usefixtures("quick_hashes")
def test_wrong_passwords_mean_waiting(store_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with Store.open(store_url) as store:
        store.users.add("anna", Role.VIEWER, PASSWORD, by="root")
        for _ in range(users.FAILURES - 1):
            with pytest.raises(AccessError, match="is wrong"):
                store.users.authenticate("anna", "a wrong one")
        store.users.authenticate("anna", PASSWORD)
        for _ in range(users.FAILURES):
            with pytest.raises(AccessError, match="is wrong"):
                store.users.authenticate("anna", "a wrong one")
    with Store.open(store_url) as again:  # a restart forgets nothing
        with pytest.raises(AccessError, match="wait 15 minutes"):
            again.users.authenticate("anna", PASSWORD)

        class Later(datetime):
            @classmethod
            def now(cls, tz: object = None) -> datetime:
                return datetime.now(UTC) + users.WAIT + timedelta(seconds=1)

        monkeypatch.setattr(users, "datetime", Later)
        assert again.users.authenticate("anna", PASSWORD).name == "anna"
        monkeypatch.undo()
        for _ in range(users.FAILURES):
            with pytest.raises(AccessError, match="is wrong"):
                again.users.authenticate("anna", "a wrong one")
        again.users.set_password("anna", "another password", by="root")
        assert again.users.authenticate("anna", "another password").name == "anna"


@pytest.mark.usefixtures("quick_hashes")
def test_wrong_passwords_elsewhere_lock_nobody_out(store: Store) -> None:
    """A colleague, or a stranger, cannot keep a user from their own desk, but by very many guesses."""
    store.users.add("anna", Role.VIEWER, PASSWORD, by="root")

    def guess(address: str) -> str:
        with pytest.raises(AccessError) as refused:
            store.users.authenticate("anna", "a wrong one", address=address)
        return str(refused.value)

    for _ in range(users.FAILURES):
        assert "is wrong" in guess("stranger")
    assert "5 wrong passwords in a row; wait 15 minutes" in guess("stranger")
    assert store.users.authenticate("anna", PASSWORD, address="desk").name == "anna"
    for number in range(users.FAILURES, users.NAME_FAILURES):
        assert "is wrong" in guess(f"elsewhere {number}")
    assert "50 wrong passwords in a row; wait 15 minutes" in guess("one more place")
    with pytest.raises(AccessError, match="50 wrong passwords"):
        store.users.authenticate("anna", PASSWORD, address="desk")
    store.users.set_password("anna", "another password", by="root")
    assert store.users.authenticate("anna", "another password", address="desk").name == "anna"
    assert "is wrong" in guess("stranger"), "a new password ends every wait"


@pytest.mark.usefixtures("quick_hashes")
def test_guesses_sent_all_at_once_are_counted(store: Store) -> None:
    store.users.add("anna", Role.VIEWER, PASSWORD, by="root")
    tried: list[str] = []

    def guess() -> None:
        try:
            store.users.authenticate("anna", "a wrong one")
        except AccessError as error:
            tried.append(str(error))

    threads = [Thread(target=guess) for _ in range(users.FAILURES + 4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum("is wrong" in said for said in tried) == users.FAILURES
    assert sum("wait" in said for said in tried) == 4


@pytest.mark.usefixtures("quick_hashes")
def test_a_name_that_nobody_has_is_treated_like_any_other(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.users.add("anna", Role.VIEWER, PASSWORD, by="root")

    def told(name: str) -> list[str]:
        said = []
        for _ in range(users.FAILURES + 2):
            with pytest.raises(AccessError) as refused:
                store.users.authenticate(name, "a wrong one")
            said.append(str(refused.value))
        return said

    assert told("nobody") == told("anna")
    assert "wait 15 minutes" in told("x" * 200)[-1]
    with store.database.reading() as connection:
        kept = connection.execute(select(schema.sign_ins.c.name)).scalars().all()
    assert len(kept) == 6, "each by itself, and at its address"
    assert not any("anna" in name or "nobody" in name for name in kept), "a password in the wrong field is not kept"


@pytest.mark.usefixtures("quick_hashes")
def test_names_without_end_fill_no_store_and_free_nobody(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(users, "MOST_COUNTED", 5)
    store.users.add("anna", Role.VIEWER, PASSWORD, by="root")
    for _ in range(users.FAILURES):
        with pytest.raises(AccessError):
            store.users.authenticate("anna", "a wrong one")
    for number in range(20):
        with pytest.raises(AccessError, match="is wrong"):
            store.users.authenticate(f"stranger {number}", "a wrong one")
    with store.database.reading() as connection:
        assert connection.execute(select(func.count()).select_from(schema.sign_ins)).scalar_one() <= 9
    with pytest.raises(AccessError, match="wait"):
        store.users.authenticate("anna", PASSWORD)
