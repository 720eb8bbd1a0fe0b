"""What people said, in searches, counts and the table of what was inspected."""

from __future__ import annotations

import csv
import io
from dataclasses import replace

import numpy as np
from store_support import LIMIT, card_of, record_parts, verdict

from defectflow.store import Answer, Query, Seen, Store

CARD = card_of([n / 39 for n in range(39)])
OK, BAD = 0.1, 50.0


def test_answers_in_search_counts_and_table(store: Store) -> None:
    numbers = record_parts(
        store, CARD, {"false alarm": BAD, "escape": OK, "right": BAD, "taken back": BAD, "unasked": OK, "skipped": BAD}
    )
    (front,) = store.record(CARD, [Seen("f.png", verdict(CARD, OK), "two views")], by="anna", source="ui")
    store.record(CARD, [Seen("b.png", verdict(CARD, BAD), "two views")], by="anna", source="ui")
    say = store.reviews.answer
    say(numbers["false alarm"], Answer.DEFECTIVE, by="ben")
    say(numbers["false alarm"], Answer.GOOD, by="anna", comment="dust, wiped off")
    say(numbers["escape"], Answer.DEFECTIVE, by="anna", kind="dent")
    say(numbers["right"], Answer.DEFECTIVE, by="anna", kind="scratch")
    store.reviews.undo(say(numbers["taken back"], Answer.GOOD, by="anna"), by="anna")
    say(numbers["skipped"], Answer.SKIP, by="anna")
    say(front, Answer.DEFECTIVE, by="anna", kind="scratch")

    def parts(**asked: str) -> set[str]:
        return {one.part for one in store.history.search(Query(**asked))}  # type: ignore[arg-type]

    assert parts(answered="differently") == {"false alarm", "escape"}, "an ok view of a rejected part is none"
    assert parts(answered="good") == {"false alarm"}
    assert parts(answered="defective") == {"escape", "right", "two views"}
    assert parts(answered="nobody") == {"taken back", "unasked", "skipped"}
    assert parts(kind="scratch") == {"right", "two views"}
    assert store.history.count(Query(answered="differently")) == 2

    counted = {one.kind: one.parts for one in store.history.kinds(every="month")}
    assert counted == {"dent": 1, "scratch": 2}, "parts, not pictures"
    assert {one.kind for one in store.history.kinds(Query(decisions=("ok",)))} == {"dent"}
    assert store.reviews.kinds(CARD.name) == ["scratch", "dent"]
    assert store.reviews.kinds("another product") == []

    table = io.StringIO()
    assert store.history.export_csv(table) == 8
    rows = {row["file"]: row for row in csv.DictReader(io.StringIO(table.getvalue()))}
    told = [rows["false alarm.png"][name] for name in ("answer", "kind", "comment", "answered_by")]
    assert told == ["good", "", "dust, wiped off", "anna"]
    assert (rows["b.png"]["answer"], rows["b.png"]["kind"]) == ("defective", "scratch")
    assert rows["taken back.png"]["answer"] == rows["unasked.png"]["answered_at"] == ""


def test_products_are_told_apart(store: Store) -> None:
    """By the model's name, to the letter; of each, parts by their worst picture."""
    cards = {
        name: card_of(np.linspace(0, 1, 39), bundle_id=letter * 12, name=name)
        for letter, name in (("a", "line/ring"), ("b", "line/Ring"), ("c", "spring"), ("d", "ring"))
    }
    for number, card in enumerate(cards.values(), start=1):
        record_parts(store, card, {f"p{part}": OK for part in range(number)} | {"bad": BAD})
    assert {one.model for one in store.history.search(Query(product="ring"))} == {"line/ring"}
    assert store.history.count(Query(product="Ring")) == 3
    assert store.history.count(Query(product="line")) == 0
    assert sum(one.judged for one in store.history.counts(Query(product="Ring"))) == 3
    assert store.history.by_product() == {"ring": {"ok": 1, "defect": 1}, "Ring": {"ok": 2, "defect": 1}}
    assert store.history.by_product(Query(decisions=("defect",))) == {"ring": {"defect": 1}, "Ring": {"defect": 1}}
    table = io.StringIO()
    store.history.export_csv(table, Query(part="bad"))
    told = {row["model"]: row["product"] for row in csv.DictReader(io.StringIO(table.getvalue()))}
    assert told == {"line/ring": "ring", "line/Ring": "Ring", "spring": "", "ring": ""}


def test_why_a_picture_is_invalid_is_kept(store: Store) -> None:
    marked = np.zeros((8, 8), bool)
    marked[2:4, 2:4] = True
    for name, mask in (("gross", marked), ("foreign", np.zeros_like(marked))):
        item = verdict(CARD, BAD, distance=2 * LIMIT, sha256=name.ljust(64, "0"))
        item = replace(item, mask=mask)
        store.record(CARD, [Seen(f"{name}.png", item, name)], by="anna", source="ui")
    seen = {one.part: one.reason for one in store.history.search()}
    assert seen == {"gross": "gross defect", "foreign": "wrong picture"}
    table = io.StringIO()
    store.history.export_csv(table)
    assert {row["part"]: row["reason"] for row in csv.DictReader(io.StringIO(table.getvalue()))} == seen
