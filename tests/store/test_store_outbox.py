"""What the plant's systems have still to be told: in order, by one process at a time, whoever dies."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest
from store_support import verdict
from support import wait_until
from test_store_requests import CARD, entry

from defectflow.errors import StoreError
from defectflow.serve import tell
from defectflow.store import Inspection, Seen, Store, StoreSettings
from defectflow.store.outbox import GIVEN_UP_DAYS


def record(store: Store, *names: str) -> list[int]:
    return [row.id for rows in store.record_all([entry(name, None, 0.5) for name in names]) for row in rows]


def test_a_channel_begins_with_what_comes_after_it(store: Store) -> None:
    record(store, "old")
    assert store.outbox.hold("mes", "one", 60)
    assert store.outbox.waiting("mes", 10) == []
    first, second, third = record(store, "a", "b", "c")
    assert [row.id for row in store.outbox.waiting("mes", 2)] == [first, second]
    assert store.outbox.behind("mes") == 3
    store.record(CARD, [Seen("d.png", verdict(CARD, 0.1))], by="anna", source="ui")
    assert store.outbox.behind("mes") == 3, "what another source has recorded is not told"
    store.outbox.told("mes", "one", second)
    assert [row.id for row in store.outbox.waiting("mes", 10)] == [third]
    assert store.outbox.hold("archive", "one", 60)
    assert store.outbox.behind("archive") == 0
    assert store.verify().passed


def test_one_process_tells_a_channel_until_it_dies(store: Store) -> None:
    assert store.outbox.hold("mes", "one", 0.3)
    assert not store.outbox.hold("mes", "two", 60)
    (row,) = record(store, "a")
    store.outbox.told("mes", "two", row)
    assert store.outbox.behind("mes") == 1, "it is not two that tells"
    time.sleep(0.31)
    assert store.outbox.hold("mes", "two", 60)
    store.outbox.told("mes", "one", row)
    assert store.outbox.behind("mes") == 1, "one was too late"
    store.outbox.release("mes", "two")
    assert store.outbox.hold("mes", "three", 60)


def test_what_a_channel_has_not_been_told_is_not_removed(store: Store) -> None:
    later = datetime.now(UTC) + timedelta(days=2)
    store.configure(StoreSettings(keep_rows_days=1), by="anna")
    for channel in ("mes", "archive"):
        store.outbox.hold(channel, "one", 60)
    first, _, third = record(store, "a", "b", "c")
    store.outbox.told("archive", "one", third)
    assert store.retain(by="cron", now=later) == (0, 0)
    store.outbox.told("mes", "one", first)
    assert store.retain(by="cron", now=later) == (1, 0)
    assert [(one.name, one.behind, one.since is None, one.held) for one in store.outbox.channels()] == [
        ("archive", 0, True, True),
        ("mes", 2, False, True),
    ]
    assert [one.name for one in store.kept_for_channels(now=later)] == ["mes"]
    with pytest.raises(StoreError, match="channel 'mes': a running service tells it"):
        store.outbox.forget("mes")
    store.outbox.release("mes", "one")
    with pytest.raises(StoreError, match="there is no channel 'msg'; known: archive, mes"):
        store.outbox.forget("msg")
    store.outbox.forget("mes")
    assert store.retain(by="cron", now=later) == (2, 0)
    assert store.verify().passed


def test_a_channel_that_nobody_tells_any_more_keeps_nothing(store: Store) -> None:
    """A container's OPC UA server has another name after each start; a webhook may be renamed."""
    store.configure(StoreSettings(keep_rows_days=1), by="anna")
    store.outbox.hold("opcua 3f2c:4840", "one", 60)
    store.outbox.release("opcua 3f2c:4840", "one")
    record(store, "a", "b")
    now = datetime.now(UTC)
    assert store.retain(by="cron", now=now + timedelta(days=GIVEN_UP_DAYS - 1)) == (0, 0)
    assert store.retain(by="cron", now=now + timedelta(days=GIVEN_UP_DAYS + 1)) == (2, 0)
    assert store.kept_for_channels(now=now + timedelta(days=GIVEN_UP_DAYS + 1)) == []


def test_what_was_refused_goes_with_its_inspection(store: Store) -> None:
    store.configure(StoreSettings(keep_rows_days=1), by="anna")
    store.outbox.hold("mes", "one", 60)
    first, second = record(store, "a", "b")
    store.outbox.set_aside("mes", "one", first, "422")
    store.outbox.set_aside("mes", "one", second, "422")
    assert store.outbox.refused_counts() == {"mes": 2}
    assert store.retain(by="cron", now=datetime.now(UTC) + timedelta(days=2)) == (2, 0)
    assert store.outbox.refused_counts() == {}


class Refusing:
    """A receiver that refuses whatever it is told first, and confirms it the second time."""

    name = "mes"
    at_once = 1

    def __init__(self) -> None:
        self.refused, self.confirmed = list[int](), list[int]()
        self.refuse: Exception = tell.Untold("busy")

    def wants(self, said: tell.Told) -> bool:
        return True

    def tell(self, said: tell.Told) -> None:
        if said.id not in self.refused:
            self.refused.append(said.id)
            raise self.refuse
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

    store.outbox.hold("mes", "earlier", 60)
    store.outbox.release("mes", "earlier")
    numbers = record(store, *"abcdef")
    receiver = Picky(numbers[1], numbers[2], everything=True)
    teller = tell.Teller(receiver, store.outbox)
    wait_until(lambda: len(receiver.refused) > 5 * tell.TRIES)
    assert store.outbox.refused() == [] and receiver.confirmed == [] and teller.error is not None
    assert store.outbox.behind("mes") == 6
    receiver.everything = False
    wait_until(lambda: store.outbox.behind("mes") == 0)
    assert set(receiver.confirmed) == {numbers[0], *numbers[3:]}
    assert [(one.channel, one.number, one.again) for one in store.outbox.refused()] == [
        ("mes", numbers[1], False),
        ("mes", numbers[2], False),
    ]
    receiver.refuses = (numbers[2],)
    store.outbox.tell_again(store.outbox.refused())
    wait_until(lambda: [(one.number, one.again) for one in store.outbox.refused()] == [(numbers[2], False)])
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
    wait_until(lambda: len(receiver.confirmed) >= len(numbers))
    teller.close()
    assert receiver.confirmed == receiver.refused == numbers


class Slow(Picky):
    """A receiver that takes four messages, and answers none before all four are there."""

    at_once = 4

    def __init__(self, *refuses: int) -> None:
        super().__init__(*refuses)
        self.there = threading.Barrier(self.at_once)
        self.answers = threading.Event()
        self.untold_part: str | None = None
        """Of this part it says once that it cannot be told now."""

    def tell(self, said: tell.Told) -> None:
        if not self.answers.is_set():
            self.there.wait(60)
            self.answers.set()
        if isinstance(said, Inspection) and said.part == self.untold_part:
            self.untold_part = None
            raise tell.Untold("busy")
        super().tell(said)


Telling = Callable[[tell.Channel], tell.Teller]


@pytest.fixture
def telling(store: Store) -> Iterator[Telling]:
    """Tells a channel until the test is over."""
    tellers = list[tell.Teller]()

    def begin(receiver: tell.Channel) -> tell.Teller:
        tellers.append(tell.Teller(receiver, store.outbox))
        return tellers[-1]

    yield begin
    for teller in tellers:
        teller.close()


def test_several_are_on_their_way_and_none_is_lost_or_told_twice(
    store: Store, telling: Telling, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first fails: the three behind it were confirmed and are not sent again; until then, none is noted."""
    receiver, paused = Slow(), threading.Event()
    receiver.untold_part = "0"
    monkeypatch.setattr(tell.Teller, "_wait", lambda teller, pause: paused.wait(60))
    teller = telling(receiver)
    numbers = record(store, *map(str, range(12)))
    teller.look()
    wait_until(lambda: teller.error is not None)
    assert store.outbox.behind("mes") == 12
    assert sorted(receiver.confirmed) == numbers[1:4]
    paused.set()
    wait_until(lambda: store.outbox.behind("mes") == 0)
    assert sorted(receiver.confirmed) == numbers


def test_one_that_is_refused_while_several_are_on_their_way_is_set_aside(
    store: Store, telling: Telling, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That others were confirmed is known, and asks for no further message."""
    monkeypatch.setattr(tell, "FIRST_PAUSE_S", 0.001)
    store.outbox.hold("mes", "earlier", 60)
    store.outbox.release("mes", "earlier")
    numbers = record(store, *map(str, range(12)))
    receiver = Slow(numbers[0])
    telling(receiver)
    wait_until(lambda: store.outbox.behind("mes") == 0)
    assert sorted(receiver.confirmed) == numbers[1:]
    assert [one.number for one in store.outbox.refused()] == [numbers[0]]
    assert receiver.refused == [numbers[0]] * tell.TRIES


def test_what_was_confirmed_when_it_was_stopped_is_not_told_again(
    store: Store, telling: Telling, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.outbox.hold("mes", "earlier", 60)
    store.outbox.release("mes", "earlier")
    numbers = record(store, *map(str, range(12)))
    receiver, stopped = Slow(), threading.Event()
    confirm = receiver.tell

    def tell_and_wait(said: tell.Told) -> None:
        confirm(said)
        stopped.wait(60)

    monkeypatch.setattr(receiver, "tell", tell_and_wait)
    teller = telling(receiver)
    wait_until(lambda: len(receiver.confirmed) == 4)
    stopping = threading.Thread(target=teller.close)
    stopping.start()
    stopped.set()
    stopping.join(60)
    told = len(receiver.confirmed)
    assert 4 <= told <= 8
    assert sorted(receiver.confirmed) == numbers[:told]
    assert store.outbox.behind("mes") == 12 - told


def test_whatever_goes_wrong_is_tried_again(store: Store, telling: Telling, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tell, "FIRST_PAUSE_S", 0.001)
    receiver = Refusing()
    monkeypatch.setattr(receiver, "refuse", ValueError("no such address"))
    teller = telling(receiver)
    numbers = record(store, "a", "b")
    teller.look()
    wait_until(lambda: receiver.confirmed == numbers)
    assert receiver.refused == numbers


def test_a_channel_stays_held_while_its_receiver_is_waited_for(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long the pause: or another service would take the channel, and `forget` lose what it is to be told."""
    monkeypatch.setattr(tell, "HELD_S", 1.5)
    monkeypatch.setattr(tell, "FIRST_PAUSE_S", 1e6)
    monkeypatch.setattr(tell, "LONGEST_PAUSE_S", 1e6)
    receiver = Picky(everything=True)
    teller = tell.Teller(receiver, store.outbox)
    record(store, "a")
    teller.look()
    wait_until(lambda: teller.error is not None)
    for _ in range(10):
        time.sleep(0.3)
        assert not store.outbox.hold("mes", "somebody else", 1)
        with pytest.raises(StoreError, match="a running service tells it"):
            store.outbox.forget("mes")
    teller.close()
