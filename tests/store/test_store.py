"""What is recorded can be found again, on SQLite and on PostgreSQL."""

from __future__ import annotations

import csv
import io
import secrets
import sqlite3
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from postgres import new_schema
from sqlalchemy import select
from store_support import card_of, record_parts, verdict
from support import save, swatch

from defectflow.bundle import file_digest, open_bundle
from defectflow.errors import ImageError, SettingsError, StoreError
from defectflow.image.decode import pixel_digest, read_image_file, read_raw
from defectflow.recipe.tree import override
from defectflow.store import Inspection, Query, Seen, Store, StoreSettings, chain, schema
from defectflow.store.audit import AuditDraw
from defectflow.store.database import parse_url
from defectflow.store.rows import stamp
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
    assert today.yield_share == pytest.approx(1 / 3), "a part under review has not passed"
    assert today.start == f"{datetime.now(UTC):%Y-%m-%d}"
    assert len(store.history.counts(every="hour")[0].start) == len("2026-05-31T14")


def test_counts_of_one_decision_leave_out_parts_that_are_worse(store: Store) -> None:
    """One ok picture does not make a rejected part an ok one."""
    record_parts(store, CARD, {"1": 0.1, "2": 0.1, "3": 9.0})
    record_parts(store, CARD, {"2": 9.0})
    counted = {word: store.history.counts(Query(decisions=(word,))) for word in ("ok", "defect", "review")}
    assert [(day.ok, day.defect, day.judged) for day in counted["ok"]] == [(1, 0, 1)]
    assert [(day.ok, day.defect) for day in counted["defect"]] == [(0, 2)]
    assert counted["review"] == []
    newest = store.history.search(Query(limit=1))[0]
    assert store.history.counts(Query(since=newest.at)) == [], "part 2 was first seen before"
    assert [day.defect for day in store.history.counts(Query(file="2.pn"))] == [1]
    assert [day.judged for day in store.history.counts(Query(until=newest.at))] == [3]


def test_counts_over_weeks_and_months(store: Store) -> None:
    """As adding up the days by hand gives them."""
    moments = [datetime(2025, 12, 28, tzinfo=UTC) + timedelta(hours=7 * number) for number in range(40)]
    template = store.history.get(record_parts(store, CARD, {"first": 0.1})["first"])
    assert template is not None
    with store.database.writing() as connection:
        row = dict(connection.execute(select(schema.inspections)).mappings().one())
        rows = [row | {"part": f"p{number}", "at": stamp(at)} for number, at in enumerate(moments)]
        chain.append(connection, schema.inspections, rows)
    days = {day.start: day.ok for day in store.history.counts() if day.start < "2026-06"}
    assert sum(days.values()) == len(moments)
    for every, start in (
        ("week", lambda day: f"{datetime.fromisocalendar(*day.isocalendar()[:2], 1):%Y-%m-%d}"),
        ("month", lambda day: f"{day:%Y-%m}"),
    ):
        expected: Counter[str] = Counter()
        for day, parts in days.items():
            expected[start(datetime.fromisoformat(day))] += parts
        found = {count.start: count.ok for count in store.history.counts(every=every) if count.start < "2026-06"}
        assert found == dict(expected), every
    assert store.history.counts(every="week")[0].start == "2025-12-22"


def test_the_scores_of_parts_are_those_that_reviews_see(store: Store) -> None:
    record_parts(store, CARD, {"1": 0.1, "2": 0.5, "3": 0.2})
    store.record(CARD, [Seen("4.png", verdict(CARD, 0.1, distance=99.0), "4")], by="a", source="ui")
    store.record(CARD, [Seen("5.png", ImageError("5.png: damaged"), "5")], by="a", source="ui")
    record_parts(store, CARD, {"2": 0.3, "1": 0.9})
    parts = store.reviews.parts(CARD.bundle_id)
    expected = [(part.part, part.score, part.pictures[0].at) for part in parts]
    found = store.history.part_scores(CARD.bundle_id)
    assert [(part.part, part.score, part.at) for part in found] == expected
    assert {part.calibration_id for part in found} == {CARD.calibration_id}
    assert store.history.part_scores("another") == []
    later = store.history.part_scores(CARD.bundle_id, after=6)
    assert [(part.part, part.score, part.first) for part in later] == [("2", 0.3, 7), ("1", 0.9, 8)]
    assert [found[1].joined(later[0]).score, found[0].joined(later[1]).score] == [0.5, 0.9]


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
    other = card_of(np.linspace(0, 1, 39), bundle_id="d" * 12)
    record_parts(store, other, {"17": 0.1})
    assert len(store.history.story("17").inspections) == 2
    assert len(store.history.story("17", bundle_id=CARD.bundle_id).inspections) == 1, "another product's part 17"


def test_csv_holds_every_row_and_no_formula(store: Store) -> None:
    record_parts(store, CARD, {"1": 0.1, "2": -3.5})
    store.record(CARD, [Seen("=cmd()|a.png", verdict(CARD, 9.0), "+3")], by="a", source="ui")
    stream = io.StringIO()
    assert store.history.export_csv(stream, Query(limit=1)) == 3, "a page is no limit here"
    rows = list(csv.DictReader(stream.getvalue().splitlines()))
    assert [row["score"] for row in rows] == ["0.1", "-3.5", "9.0"]
    assert (rows[2]["file"], rows[2]["part"]) == ("'=cmd()|a.png", "'+3")


def test_unnamed_parts_are_distinguished_by_their_pictures(store: Store) -> None:
    """Another day's IMG_001.png is another part; the very same picture is not."""
    for score in (0.1, 0.2, 0.1):
        store.record(CARD, [Seen("IMG_001.png", verdict(CARD, score))], by="a", source="ui")
    third, second, first = store.history.search()
    assert first.part == third.part != second.part
    assert not first.part_known


def pictured(folder: Path, name: str, seed: int) -> tuple[Path, Seen]:
    path = save(folder / name, swatch(seed))
    _, sha256, _ = read_image_file(path)
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


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's full disk")
def test_a_copy_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture = save(tmp_path / "a.png", swatch(1))
    with Store.open(str(tmp_path / "log.db")) as store:
        store.configure(StoreSettings(pictures="copy", picture_folder=tmp_path / "kept"), by="a")
        digest = file_digest(picture)
        folder = tmp_path / "kept" / digest[:2]
        folder.mkdir(parents=True)
        monkeypatch.setattr(secrets, "token_hex", lambda count: "ab" * count)
        (folder / f"{digest}.png.abababab.partial").symlink_to("/dev/full")
        with pytest.raises(StoreError, match="the picture cannot be kept"):
            store.record(CARD, [Seen("a.png", verdict(CARD, 1.0, sha256=digest), None, picture)], by="a", source="t")
        assert not list(folder.iterdir())
        assert store.history.count() == 0


@pytest.mark.parametrize("name", ["../secret.png", "/etc/passwd", "ab/../../secret.png", "ab/cd.png", ""])
def test_no_name_in_the_database_leads_out_of_the_folder(store: Store, tmp_path: Path, name: str) -> None:
    """Whoever can write to the database cannot make the station show, or retention remove, another file."""
    kept = tmp_path / "kept"
    store.configure(StoreSettings(pictures="copy", picture_folder=kept, keep_pictures_days=1), by="a")
    (number,) = store.record(CARD, [pictured(tmp_path, "a.png", 1)[1]], by="a", source="ui")
    secret = save(tmp_path / "secret.png", swatch(2))
    save(kept / "ab" / "cd.png", swatch(2))
    item = store.history.get(number)
    assert item is not None
    assert store.picture(item) is not None
    assert store.picture(replace(item, picture=name)) is None
    with store.database.writing() as connection:
        row = {**asdict(item), "picture": name, "at": "2020-01-01T00:00:00.000000Z", "regions": "[]"}
        row |= {key: int(row[key]) for key in ("part_known", "audit")}
        chain.append(connection, schema.inspections, [row])
    assert store.retain(by="a") == (0, 0)
    assert secret.is_file()
    assert (kept / "ab" / "cd.png").is_file()


def test_retention_by_size_keeps_what_was_inspected_last(store: Store, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    settings = StoreSettings(pictures="copy", picture_folder=kept)
    store.configure(settings, by="a")
    numbers = [store.record(CARD, [pictured(tmp_path, f"{n}.png", n)[1]], by="a", source="ui")[0] for n in (1, 2, 3, 1)]
    size = sum(file.stat().st_size for file in kept.rglob("*.png"))
    room = settings.model_copy(update={"keep_pictures_gigabytes": size / 1e9})
    store.configure(room, by="a")
    assert store.retain(by="a") == (0, 0)
    store.configure(room.model_copy(update={"keep_pictures_gigabytes": (size - 1) / 1e9}), by="a")
    assert store.retain(by="a") == (0, 1)
    found = [store.picture(item) is not None for number in numbers if (item := store.history.get(number))]
    assert found == [True, False, True, True], "the first was inspected again at the end"
    assert store.verify().passed


def test_another_process_changes_what_holds(store: Store, store_url: str, bundle_path: Path) -> None:
    before = store.in_force()
    assert before.active is None
    assert store.in_force() is before, "nothing is read again while nothing changes"
    with Store.open(store_url) as other:
        other.configure(StoreSettings(review=ReviewSettings(audit_rate=0.5)), by="b")
        other.versions.activate(open_bundle(bundle_path), by="b", reason="new line")
    held = store.in_force()
    assert (held.settings.review.audit_rate, held.active) == (0.5, store.versions.active())
    assert held.active is not None


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


@pytest.mark.parametrize("pictures", ["path", "copy", "none"])
@pytest.mark.parametrize("temporary", [True, False])
def test_a_store_says_in_advance_how_it_keeps_a_picture(
    store: Store, tmp_path: Path, pictures: Literal["path", "copy", "none"], temporary: bool
) -> None:
    """For a station on a server without a folder, too: what it says is what it does."""
    if pictures == "copy" and store.database.file is None:
        store.configure(StoreSettings(pictures=pictures, picture_folder=tmp_path / "kept"), by="a")
    else:
        store.configure(StoreSettings(pictures=pictures), by="a")
    said = store.kept_as(temporary=temporary)
    _, seen = pictured(tmp_path, "a.png", 1)
    (number,) = store.record(CARD, [replace(seen, temporary=temporary)], by="a", source="ui")
    assert store.history.get(number).kept == said


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
    drawn = {name for name in names if AuditDraw(store.database).draws(name, 0.2)}
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


def test_whoever_only_looks_changes_nothing_that_is_no_store(tmp_path: Path, postgres: str) -> None:
    """A mistyped name may be that of an empty file, or of somebody else's database."""
    empty, foreign = tmp_path / "empty.db", tmp_path / "foreign.db"
    empty.touch()
    with closing(sqlite3.connect(foreign)) as connection:
        connection.execute("CREATE TABLE orders (id INTEGER)")
        connection.commit()
    before = foreign.read_bytes()
    for file in (empty, foreign):
        with pytest.raises(StoreError, match=rf"{file.name}: is not a DefectFlow store; nothing was changed"):
            Store.open(str(file), create=False)
    assert (empty.read_bytes(), foreign.read_bytes()) == (b"", before)
    assert {file.name for file in tmp_path.iterdir()} == {"empty.db", "foreign.db"}
    schema = new_schema(postgres)
    for _ in range(2):
        with pytest.raises(StoreError, match="is not a DefectFlow store"):
            Store.open(schema, create=False)
    Store.open(schema).close()
    Store.open(schema, create=False).close()


def test_a_store_is_in_wal_mode_from_the_start(tmp_path: Path) -> None:
    Store.open(str(tmp_path / "log.db")).close()
    with closing(sqlite3.connect(tmp_path / "log.db")) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
