"""What is recorded can be found again, on SQLite and on PostgreSQL."""

from __future__ import annotations

import csv
import io
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from postgres import new_schema
from store_support import card_of, record_parts, verdict
from support import save, swatch

from defectflow.errors import ImageError, SettingsError, StoreError
from defectflow.runtime.image import pixel_digest, read_image_file, read_raw
from defectflow.settings_tree import override
from defectflow.store import Inspection, Query, Seen, Store, StoreSettings
from defectflow.store.database import parse_url
from defectflow.store.settings import ReviewSettings

CARD = card_of(np.linspace(0, 1, 39))


def test_a_verdict_comes_back_as_it_was(store: Store) -> None:
    item = verdict(CARD, 5.25)
    (number,) = store.record(CARD, [Seen("Ä ring.png", item, "17")], by="anna", source="ui")
    read = store.history.get(number)
    assert isinstance(read, Inspection)
    assert (read.file, read.part, read.part_known, read.by, read.source) == ("Ä ring.png", "17", True, "anna", "ui")
    assert (read.decision, read.score, read.p_value, read.sha256) == ("defect", 5.25, item.p_value, item.sha256)
    assert (read.bundle_id, read.calibration_id) == (CARD.bundle_id, CARD.calibration_id)
    assert read.regions == tuple(item.regions())
    assert read.peak == 5.25
    assert abs(datetime.now(UTC) - read.at) < timedelta(minutes=1)
    reference = store.versions.get(CARD.bundle_id, str(CARD.calibration_id))
    assert reference.card(CARD) == CARD, "the thresholds it was judged by stand in the log, too"


def test_an_unreadable_picture_is_a_row_too(store: Store) -> None:
    error = ImageError("a.png: cut short")
    store.record(CARD, [Seen("a.png", error, "1"), Seen("b.png", verdict(CARD, 0.1), "2")], by="a", source="ui")
    newest, oldest = store.history.search()
    assert (oldest.decision, oldest.error, oldest.score) == ("error", "a.png: cut short", None)
    assert newest.decision == "ok"


def test_search(store: Store) -> None:
    record_parts(store, CARD, {"ok1": 0.1, "grey": 0.95, "bad": 9.0, "ok_2": 0.2})
    other = card_of(np.linspace(0, 1, 39), bundle_id="c" * 12)
    record_parts(store, other, {"ok1": 0.3})
    everything = store.history.search()
    assert [item.file for item in everything] == ["ok1.png", "ok_2.png", "bad.png", "grey.png", "ok1.png"]

    def names(**query: object) -> list[str]:
        found = store.history.search(Query(**query))
        assert store.history.count(Query(**query)) == len(found)
        return [item.part for item in found]

    assert names(decisions=("defect", "review")) == ["bad", "grey"]
    assert names(file="OK_") == ["ok_2"], "an underscore stands for itself"
    assert names(bundle_id="c" * 12) == ["ok1"]
    assert names(calibration_id=CARD.calibration_id, part="ok1") == ["ok1", "ok1"]
    assert names(since=everything[1].at) == ["ok1", "ok_2"]
    assert names(until=everything[-2].at) == ["ok1"]
    assert [item.part for item in store.history.search(Query(limit=2, offset=1))] == ["ok_2", "bad"]


def test_counts_are_by_part_and_its_worst_picture(store: Store) -> None:
    record_parts(store, CARD, {"1": 0.1, "2": 0.1, "3": 0.1})
    record_parts(store, CARD, {"2": 9.0})
    record_parts(store, CARD, {"3": 0.95})
    (today,) = store.history.counts()
    assert (today.ok, today.review, today.defect, today.judged) == (1, 1, 1, 3)
    assert today.yield_share == pytest.approx(2 / 3)
    assert today.start == f"{datetime.now(UTC):%Y-%m-%d}"
    assert len(store.history.counts(every="hour")[0].start) == len("2026-05-31T14")


def test_a_part_has_a_story(store: Store) -> None:
    numbers = record_parts(store, CARD, {"17": 0.95, "18": 0.1})
    store.reviews.comment(numbers["17"], "looks scratched", by="anna")
    store.reviews.answer(numbers["17"], "good", by="bert")
    story = store.history.story("17")
    assert [item.part for item in story.inspections] == ["17"]
    assert [(said.by, said.comment, said.answer) for said in story.reviews] == [
        ("anna", "looks scratched", None),
        ("bert", None, "good"),
    ]
    assert [version.calibration_id for version in story.calibrations] == [CARD.calibration_id]


def test_csv_holds_every_row_and_no_formula(store: Store) -> None:
    record_parts(store, CARD, {"1": 0.1, "2": -3.5})
    store.record(CARD, [Seen("=cmd()|a.png", verdict(CARD, 9.0), "+3")], by="a", source="ui")
    stream = io.StringIO()
    assert store.history.export_csv(stream, Query(limit=1)) == 3, "a page is no limit here"
    rows = list(csv.DictReader(stream.getvalue().splitlines()))
    assert [row["score"] for row in rows] == ["0.1", "-3.5", "9.0"]
    assert (rows[2]["file"], rows[2]["part"]) == ("'=cmd()|a.png", "'+3")


def test_unnamed_parts_are_told_apart_by_their_pictures(store: Store) -> None:
    """Another day's IMG_001.png is another part; the very same picture is not."""
    for score in (0.1, 0.2, 0.1):
        store.record(CARD, [Seen("IMG_001.png", verdict(CARD, score))], by="a", source="ui")
    third, second, first = store.history.search()
    assert first.part == third.part != second.part
    assert not first.part_known


def pictured(folder: Path, name: str, seed: int) -> tuple[Path, Seen]:
    path = save(folder / name, swatch(seed))
    _, sha256 = read_image_file(path)
    return path, Seen(name, verdict(CARD, 0.1, sha256=sha256), name, path)


def test_pictures_by_path(store: Store, tmp_path: Path) -> None:
    path, seen = pictured(tmp_path, "a.png", 1)
    (number,) = store.record(CARD, [seen], by="a", source="ui")
    item = store.history.get(number)
    assert store.picture(item) == path.absolute()
    save(path, swatch(2))
    assert store.picture(item) is None, "another picture lies there now"


def test_pictures_by_copy(store: Store, tmp_path: Path) -> None:
    store.configure(StoreSettings(pictures="copy", picture_folder=tmp_path / "kept"), by="a")
    path, seen = pictured(tmp_path, "a.png", 1)
    twice = store.record(CARD, [seen, seen], by="a", source="ui")
    content = path.read_bytes()
    path.unlink()
    for number in twice:
        assert store.picture(store.history.get(number)).read_bytes() == content
    assert len([file for file in (tmp_path / "kept").rglob("*") if file.is_file()]) == 1


def test_one_picture_kept_by_many_at_once(tmp_path: Path) -> None:
    with Store.open(str(tmp_path / "s.db")) as store:
        store.configure(StoreSettings(pictures="copy"), by="a")
        for turn in range(8):
            _, seen = pictured(tmp_path, f"{turn}.png", turn)

            def keep(_: int, seen: Seen = seen) -> list[int]:
                return store.record(CARD, [seen], by="a", source="ui")

            with ThreadPoolExecutor(8) as pool:
                assert len(set(map(tuple, pool.map(keep, range(8))))) == 8
        kept = [file for file in (tmp_path / "s.db.pictures").rglob("*") if file.is_file()]
        assert len(kept) == 8, "and nothing unfinished"
        assert store.verify().passed


def test_no_pictures(store: Store, tmp_path: Path) -> None:
    store.configure(StoreSettings(pictures="none"), by="a")
    (number,) = store.record(CARD, [pictured(tmp_path, "a.png", 1)[1]], by="a", source="ui")
    assert store.picture(store.history.get(number)) is None
    assert store.history.get(number).picture is None


def test_what_is_removed_after_use_is_copied(tmp_path: Path) -> None:
    with Store.open(str(tmp_path / "s.db")) as store:
        path, seen = pictured(tmp_path, "a.png", 1)
        (number,) = store.record(CARD, [replace(seen, temporary=True)], by="a", source="ui")
        path.unlink()
        assert store.picture(store.history.get(number)) is not None


def test_a_server_without_a_folder_keeps_no_uploads(postgres: str, tmp_path: Path) -> None:
    with Store.open(new_schema(postgres)) as store:
        path, seen = pictured(tmp_path, "a.png", 1)
        (number,) = store.record(CARD, [replace(seen, temporary=True)], by="a", source="ui")
        assert store.history.get(number).kept is None
        store.configure(StoreSettings(picture_folder=tmp_path / "kept"), by="a")
        (number,) = store.record(CARD, [replace(seen, temporary=True)], by="a", source="ui")
        assert store.picture(store.history.get(number)).read_bytes() == path.read_bytes()


def test_a_server_has_no_folder_of_its_own_for_copies(postgres: str) -> None:
    with Store.open(new_schema(postgres)) as store, pytest.raises(StoreError, match="picture_folder"):
        store.configure(StoreSettings(pictures="copy"), by="a")


def test_the_audit_draw_is_the_parts_own(store: Store, tmp_path: Path) -> None:
    store.configure(StoreSettings(review=ReviewSettings(audit_rate=0.2)), by="a")
    names = [f"part{number}" for number in range(400)]
    drawn = {name for name in names if store.audited(name)}
    assert 50 <= len(drawn) <= 110, "binomial(400, 0.2) lies there in all but one of 10,000 cases"
    for score in (0.1, 9.0):
        seen = [Seen(f"{name} {score}.png", verdict(CARD, score), name) for name in names[:50]]
        store.record(CARD, seen, by="a", source="test")
    for item in store.history.search(Query(limit=1000)):
        assert item.audit == (item.part in drawn)


def test_audit_parts_remember_their_pixels(store: Store, tmp_path: Path) -> None:
    path, seen = pictured(tmp_path, "a.png", 1)
    for rate, expected in ((1.0, pixel_digest(read_raw(path))), (0.0, None)):
        store.configure(StoreSettings(review=ReviewSettings(audit_rate=rate)), by="a")
        (number,) = store.record(CARD, [seen], by="a", source="ui")
        assert store.history.get(number).pixel_sha256 == expected


def test_another_store_draws_otherwise(tmp_path: Path) -> None:
    draws = []
    for name in ("a.db", "b.db"):
        with Store.open(str(tmp_path / name)) as store:
            draws.append([store.fair_coin(str(number)) for number in range(10)])
        with Store.open(str(tmp_path / name)) as again:
            assert draws[-1] == [again.fair_coin(str(number)) for number in range(10)]
    assert draws[0] != draws[1]


def test_settings_are_kept_in_the_store(store_url: str) -> None:
    with Store.open(store_url) as store:
        assert store.settings == StoreSettings()
        wanted = override(StoreSettings, store.settings.model_dump(mode="json"), ["review.audit_rate=0.1"])
        store.configure(wanted, by="anna")
    with Store.open(store_url) as again:
        assert again.settings.review.audit_rate == 0.1


@pytest.mark.parametrize(
    ("change", "said"),
    [("review.audit_rte=1", "audit_rate"), ("pictures=all", "path, copy, none"), ("review.audit_rate=2", "less than")],
)
def test_wrong_settings_are_explained(change: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        override(StoreSettings, {}, [change])


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("mysql://a/b", "'mysql' is not supported"),
        ("/no/such/folder/s.db", "folder .* does not exist"),
        ("postgresql://tester:secret@127.0.0.1:1/none", "127.0.0.1"),
        ("sqlite://", "needs a file"),
    ],
)
def test_wrong_urls_are_explained(url: str, said: str) -> None:
    with pytest.raises(StoreError, match=said) as raised:
        Store.open(url)
    assert "secret" not in str(raised.value)


def test_a_path_may_hold_anything(tmp_path: Path) -> None:
    with Store.open(str(tmp_path / "50% #1?.db")) as store:
        assert store.verify().passed
    assert (tmp_path / "50% #1?.db").is_file()
    assert parse_url("postgres://a/b").drivername == "postgresql+psycopg"


def test_a_file_that_is_no_store(tmp_path: Path) -> None:
    (tmp_path / "s.db").write_bytes(b"this is no database at all" * 100)
    with pytest.raises(StoreError, match="not a database"):
        Store.open(str(tmp_path / "s.db"))
