"""Repeatable requests: one row per key, whoever sends it, at once or again, and whenever a process is killed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from store_support import card_of, python, verdict

from defectflow.errors import KeyReused
from defectflow.store import Entry, Query, RequestKey, Seen, Store, StoreSettings

CARD = card_of([0.1 * number for number in range(40)])


def entry(name: str, key: RequestKey | None, *scores: float) -> Entry:
    seen = tuple(
        Seen(f"{name}{place}.png", verdict(CARD, score), part=name, lot="L1", camera="top")
        for place, score in enumerate(scores)
    )
    return Entry(card=CARD, seen=seen, by="line1", source="serve", key=key)


def test_a_key_is_recorded_once(store: Store) -> None:
    key = RequestKey("line1", "k1", "d")
    ((first,),) = store.record_all([entry("a", key, 0.5)])
    assert (first.lot, first.camera, first.part, first.score) == ("L1", "top", "a", 0.5)
    ((again,), other) = store.record_all([entry("a", key, 0.7), entry("b", None, 0.1, 0.2)])
    assert again == first
    assert [one.file for one in other] == ["b0.png", "b1.png"]
    assert store.requests.find(key) == (first,)
    assert store.requests.find(RequestKey("line2", "k1", "d")) is None
    assert store.history.count() == 3
    assert store.verify().passed


def test_a_key_twice_in_one_transaction(store: Store) -> None:
    key = RequestKey("line1", "k1", "d")
    one, same = store.record_all([entry("a", key, 0.5), entry("a", key, 0.5)])
    assert one == same
    assert store.history.count() == 1


def test_another_request_under_the_same_key_is_refused_and_nothing_is_written(store: Store) -> None:
    store.record_all([entry("a", RequestKey("line1", "k1", "d"), 0.5)])
    other = RequestKey("line1", "k1", "another")
    with pytest.raises(KeyReused, match="k1"):
        store.requests.find(other)
    with pytest.raises(KeyReused, match="k1"):
        store.record_all([entry("b", None, 0.5), entry("a", other, 0.5)])
    assert store.history.count() == 1


def test_threads_that_send_the_same_keys_at_once(store: Store) -> None:
    keys = [RequestKey("line1", f"k{number}", "d") for number in range(6)]
    with ThreadPoolExecutor(4) as pool:
        sent = list(pool.map(lambda key: store.record_all([entry(key.key, key, 0.5)])[0][0].id, keys * 4))
    assert len(set(sent)) == store.history.count() == len(keys)


def test_a_kill_leaves_rows_and_keys_together(store_url: str) -> None:
    """Another process writes until it is killed; every key that is there has its row, and every row its key."""
    Store.open(store_url).close()
    program = """
import sys
from test_store_requests import entry
from defectflow.store import RequestKey, Store
store = Store.open(sys.argv[1])
for number in range(10_000):
    store.record_all([entry(f"p{number}", RequestKey("line1", f"p{number}", "d"), 0.5)])
    print(number, flush=True)
"""
    writer = python(program, store_url)
    assert writer.stdout is not None and writer.stderr is not None
    for _ in range(10):
        assert writer.stdout.readline(), writer.stderr.read()
    writer.kill()
    writer.wait()
    with Store.open(store_url) as store:
        rows = store.history.search(Query(limit=100_000))
        assert len(rows) >= 10
        for row in rows:
            assert store.requests.find(RequestKey("line1", row.part, "d")) == (row,)
        number = len(rows)
        assert store.requests.find(RequestKey("line1", f"p{number}", "d")) is None
        store.record_all([entry(row.part, RequestKey("line1", row.part, "d"), 0.5) for row in rows])
        assert store.history.count() == number
        assert store.verify().passed


def test_retention_forgets_the_keys_of_what_it_removes(store: Store) -> None:
    key = RequestKey("line1", "k1", "d")
    store.record_all([entry("a", key, 0.5)])
    store.configure(StoreSettings(keep_rows_days=1), by="anna")
    store.retain(by="cron", now=datetime.now(UTC) + timedelta(days=2))
    assert store.requests.find(key) is None
    assert store.verify().passed
