"""What the plant's systems have still to be told: in order, by one process at a time, whoever dies."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from test_store_requests import entry

from defectflow.serve import tell
from defectflow.store import Store


def record(store: Store, *names: str) -> list[int]:
    return [row.id for rows in store.record_all([entry(name, None, 0.5) for name in names]) for row in rows]


def test_a_channel_begins_with_what_comes_after_it(store: Store) -> None:
    record(store, "old")
    assert store.outbox.hold("mes", "one", 60)
    assert store.outbox.waiting("mes", "serve", 10) == []
    first, second, third = record(store, "a", "b", "c")
    assert [row.id for row in store.outbox.waiting("mes", "serve", 2)] == [first, second]
    assert store.outbox.behind("mes", "serve") == 3
    assert store.outbox.behind("mes", "ui") == 0, "what another source has recorded"
    store.outbox.told("mes", "one", second)
    assert [row.id for row in store.outbox.waiting("mes", "serve", 10)] == [third]
    assert store.outbox.hold("archive", "one", 60)
    assert store.outbox.behind("archive", "serve") == 0
    assert store.verify().passed


def test_one_process_tells_a_channel_until_it_dies(store: Store) -> None:
    assert store.outbox.hold("mes", "one", 0.3)
    assert not store.outbox.hold("mes", "two", 60)
    (row,) = record(store, "a")
    store.outbox.told("mes", "two", row)
    assert store.outbox.behind("mes", "serve") == 1, "it is not two that tells"
    time.sleep(0.31)
    assert store.outbox.hold("mes", "two", 60)
    store.outbox.told("mes", "one", row)
    assert store.outbox.behind("mes", "serve") == 1, "one was too late"
    store.outbox.release("mes", "two")
    assert store.outbox.hold("mes", "three", 60)


class Refusing:
    """A receiver that refuses whatever it is told first, and confirms it the second time."""

    name = "mes"

    def __init__(self) -> None:
        self.refused, self.confirmed = list[int](), list[int]()

    def wants(self, said: tell.Told) -> bool:
        return True

    def tell(self, said: tell.Told) -> None:
        if said.id not in self.refused:
            self.refused.append(said.id)
            raise tell.Untold("busy")
        self.confirmed.append(said.id)

    def close(self) -> None:
        pass


class Picky(Refusing):
    """A receiver that always refuses some messages, or all."""

    def __init__(self, *refuses: int, everything: bool = False) -> None:
        super().__init__()
        self.refuses, self.everything = refuses, everything

    def tell(self, said: tell.Told) -> None:
        if self.everything or said.id in self.refuses:
            self.refused.append(said.id)
            raise tell.Refused(f"422 for {said.id}")
        self.confirmed.append(said.id)


def test_who_refuses_some_is_told_the_others_and_who_refuses_all_is_waited_for(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two bad messages in a row are set aside; where nothing at all is accepted, nothing is, and the order stays."""
    monkeypatch.setattr(tell, "FIRST_PAUSE_S", 0.001)
    monkeypatch.setattr(tell, "LONGEST_PAUSE_S", 0.01)
    monkeypatch.setattr(tell, "LOOK_S", 0.01)

    def until(true: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 60
        while not true():
            assert time.monotonic() < deadline
            time.sleep(0.01)

    store.outbox.hold("mes", "earlier", 60)
    store.outbox.release("mes", "earlier")
    numbers = record(store, *"abcdef")
    receiver = Picky(numbers[1], numbers[2], everything=True)
    teller = tell.Teller(receiver, store.outbox)
    until(lambda: len(receiver.refused) > 5 * tell.TRIES)
    assert store.outbox.refused() == [] and receiver.confirmed == [] and teller.error is not None
    assert store.outbox.behind("mes", "serve") == 6
    receiver.everything = False
    until(lambda: store.outbox.behind("mes", "serve") == 0)
    assert set(receiver.confirmed) == {numbers[0], *numbers[3:]}
    assert [(one.channel, one.number, one.again) for one in store.outbox.refused()] == [
        ("mes", numbers[1], False),
        ("mes", numbers[2], False),
    ]
    receiver.refuses = (numbers[2],)
    store.outbox.tell_again(store.outbox.refused())
    until(lambda: [(one.number, one.again) for one in store.outbox.refused()] == [(numbers[2], False)])
    assert receiver.confirmed[-1] == numbers[1]
    store.outbox.set_aside("mes", "somebody else", numbers[0], "not mine")
    assert len(store.outbox.refused()) == 1 and store.verify().passed
    teller.close()


def test_a_receiver_that_refuses_now_and_then_is_told_all(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pause grows only while nothing is confirmed: or thirty refusals, each with one success, would last a year."""
    monkeypatch.setattr(tell, "FIRST_PAUSE_S", 0.001)
    monkeypatch.setattr(tell, "LONGEST_PAUSE_S", 1e9)
    receiver = Refusing()
    teller = tell.Teller(receiver, store.outbox)
    numbers = record(store, *map(str, range(30)))
    teller.look()
    deadline = time.monotonic() + 60
    while len(receiver.confirmed) < len(numbers) and time.monotonic() < deadline:
        time.sleep(0.01)
    teller.close()
    assert receiver.confirmed == receiver.refused == numbers
