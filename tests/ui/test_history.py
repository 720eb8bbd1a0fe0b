"""The page History: figures that are true, searching by time and thresholds, and an alarm that is heard."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from defectflow_ui.models.drift_watch import EVERY_S, DriftWatch
from defectflow_ui.pages import history_chart, history_view
from defectflow_ui.words import history as words
from playwright.sync_api import expect
from running import PATIENCE_MS, Running, Watch, call, listening
from store_support import card_of, record_parts

from defectflow.bundle.bundle import open_bundle
from defectflow.bundle.card import Card
from defectflow.store import Query, Store, StoreSettings, YieldCount, chain, schema
from defectflow.store.history import PartScore
from defectflow.store.rows import stamp
from defectflow.store.settings import DriftSettings
from defectflow.store.versions import digests_of

DAYS = 150
NOW = datetime.now(UTC).replace(microsecond=0)


def rows_of(card: Card) -> list[dict[str, Any]]:
    """A part every other day, two pictures of each: the second one of every fifth part is a defect."""
    rows = []
    for number in range(DAYS // 2):
        at = NOW - timedelta(days=DAYS - 2 * number)
        for picture in (0, 1):
            decision = "defect" if picture and number % 5 == 0 else "ok"
            row = {"by": "anna", "source": "test", "file": f"p{number}-{picture}.png", "part": f"part{number}"}
            row |= {"part_known": 1, "decision": decision, "score": 0.1, "audit": 0, "regions": "[]"}
            rows.append(row | digests_of(card) | {"at": stamp(at + timedelta(minutes=picture))})
    return rows


@pytest.fixture(scope="module")
def logged(bundles: Callable[[], Path]) -> Iterator[Running]:
    """A station whose ring has inspected for five months, and another product with parts of the same names."""
    folder = bundles()
    card = open_bundle(folder / "ring").card
    other = card_of([n / 39 for n in range(39)], name="other")
    with Store.open(str(folder / "inspections.db")) as store, store.database.writing() as connection:
        store.versions.ensure_known(connection, card, by="test")
        store.versions.ensure_known(connection, other, by="test")
        chain.append(connection, schema.inspections, rows_of(card))
        chain.append(connection, schema.inspections, [rows_of(other)[-2] | {"at": stamp(NOW)}])
    with listening(folder) as running:
        yield running


@pytest.fixture
def page(browser: Any, logged: Running) -> Iterator[Any]:
    """In New York: what is shown is not UTC."""
    context = browser.new_context(base_url=logged.url, timezone_id=NEW_YORK.key, viewport=SIZE)
    page = context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    page.goto("/")
    page.get_by_role("tab", name="History").click()
    page.wait_for_selector("#history-list tr[data-inspection]")
    yield page
    context.close()


SIZE = {"width": 1280, "height": 800}
NEW_YORK = ZoneInfo("America/New_York")
OK, DEFECT = DAYS // 2 * 4 // 5, DAYS // 2 // 5


def choose(page: Any, name: str, option: str) -> None:
    page.locator(f"#history-{name} input").click()
    page.get_by_role("option", name=option, exact=True).click()


def test_figures_are_of_parts_and_of_all_of_them(page: Any) -> None:
    chart = page.locator("#history-chart")
    expect(chart).to_contain_text(f"{OK + DEFECT + 1} parts judged, {(OK + 1) / (OK + DEFECT + 1):.1%} of them passed")
    expect(chart).to_contain_text("Parts per week")
    assert chart.locator("rect.bar").count() > 20
    assert f"OK {OK + 1}" in chart.locator(".legend").inner_text()
    titles = chart.locator("rect.bar title").all_text_contents()
    assert all("OK" in title or "Defect" in title for title in titles)
    assert not any(" ok" in title for title in titles), "words, not the log's own"
    choose(page, "decision", "OK")
    expect(chart).to_contain_text(f"{OK + 1} parts whose worst picture is: OK")
    assert "passed" not in chart.inner_text(), "no share of a selection by verdict"
    choose(page, "decision", "Defect")
    expect(chart).to_contain_text(f"{DEFECT} parts whose worst picture is: Defect")


def test_times_are_those_of_the_browser(page: Any) -> None:
    time = page.locator("#history-list time").nth(0)
    at = datetime.fromisoformat(time.get_attribute("datetime"))
    assert time.get_attribute("title") == f"{at:%Y-%m-%d %H:%M:%S} UTC"
    local = page.evaluate("at => new Date(at).getHours()", time.get_attribute("datetime"))
    assert local != at.hour
    assert f" {local:02}:{at:%M:%S}" in time.inner_text()


def test_a_search_between_two_dates(page: Any) -> None:
    """By keyboard alone, in the browser's own zone."""
    choose(page, "period", "between dates")
    first, last = (NOW - timedelta(days=DAYS - 20)), (NOW - timedelta(days=DAYS - 30))
    page.locator("[data-date=since]").focus()
    page.keyboard.type(f"{first:%m%d%Y}")
    page.keyboard.press("Tab")
    page.locator("[data-date=until]").focus()
    page.keyboard.type(f"{last:%m%d%Y}")
    page.keyboard.press("Enter")
    begins = datetime(first.year, first.month, first.day, tzinfo=NEW_YORK)
    ends = datetime(last.year, last.month, last.day, tzinfo=NEW_YORK) + timedelta(days=1)
    moments = [NOW - timedelta(days=DAYS - 2 * n) + timedelta(minutes=m) for n in range(DAYS // 2) for m in (0, 1)]
    inside = sum(begins <= moment < ends for moment in moments)
    assert inside >= 10
    expect(page.locator("#history-list")).to_contain_text(f"1 to {inside} of {inside} inspections")
    ends = first.astimezone(NEW_YORK).replace(second=0) + timedelta(minutes=1)  # between the part's two pictures
    begins = (ends - timedelta(days=5)).replace(hour=0, minute=0)
    for name, moment in (("since", begins), ("until", ends)):
        page.locator(f"[data-date={name}]").fill(f"{moment:%Y-%m-%d}")
    page.locator("[data-time=until]").fill(f"{ends:%H:%M}")
    page.keyboard.press("Enter")
    inside = sum(begins <= moment < ends for moment in moments)
    assert inside % 2, "one picture of the last part"
    expect(page.locator("#history-list")).to_contain_text(f"1 to {inside} of {inside} inspections")
    page.locator("[data-time=until]").fill("")
    page.locator("[data-date=since]").fill(f"{first:%Y-%m-%d}")
    page.locator("[data-date=until]").fill(f"{first - timedelta(days=9):%Y-%m-%d}")
    page.keyboard.press("Enter")
    expect(page.locator(".toast-body")).to_contain_text(words.backwards)
    page.locator("[data-date=since]").focus()
    page.keyboard.press("Backspace")  # takes the month away
    page.keyboard.press("Tab")
    page.locator("#history-search").click()
    expect(page.get_by_text(words.incomplete).first).to_be_visible()


@pytest.mark.parametrize("said", [{"since": "never"}, {"until": ["2026"]}, {"since": "0001-01-01T00:00+14:00"}])
def test_dates_from_elsewhere_are_refused(logged: Running, said: dict[str, Any]) -> None:
    answer = call(logged.client(), "history-dates", "dates", ["dates", "", "", "", "", "", ""], said)
    assert answer["output"]["error"] == words.no_date


def test_the_story_is_one_products_and_leads_to_its_thresholds(page: Any, logged: Running) -> None:
    page.locator("#history-list button.plain").first.click()
    story = page.locator("#history-story [data-story]")
    expect(story).to_contain_text("other")
    assert story.locator("figure").count() == 1, "part 74 of the ring is another part"
    story.locator("button[data-thresholds]").click()
    expect(page.locator("#history-list")).to_contain_text("1 to 1 of 1 inspection")
    assert "other" in page.locator("#history-model input").input_value()


def test_the_table_is_a_file(logged: Running) -> None:
    """Not in memory; and gone with the tab."""
    client = logged.client()
    answer = call(client, "history-csv", "click", ["all", "defect", "", "", "", "", ""])
    address = str(answer["output"]["data"][0]).partition('href="')[2].partition('"')[0]
    session = logged.station.sessions.find(client.cookies)
    assert session is not None
    item = session.served.take(address.rpartition("/")[2])
    assert item is not None
    file = item.make()
    assert isinstance(file, Path)
    rows = list(csv.DictReader(io.StringIO(client.get(address).text)))
    assert len(rows) == logged.station.store.history.count(Query(decisions=("defect",))) == DEFECT
    for name in list(session.tabs):
        session.close_tab(name)
    assert not file.parent.exists()
    assert client.get(address).status_code in (404, 410)


def test_stretches_without_parts_are_shown_as_such() -> None:
    stretches = history_chart.stretches
    assert stretches("2025-12-30", "2026-01-02", "day") == ["2025-12-30", "2025-12-31", "2026-01-01", "2026-01-02"]
    assert stretches("2025-12-22", "2026-01-05", "week") == ["2025-12-22", "2025-12-29", "2026-01-05"]
    assert stretches("2025-11", "2026-02", "month") == ["2025-11", "2025-12", "2026-01", "2026-02"]
    assert stretches("2025-12-31T22", "2026-01-01T01", "hour")[1:3] == ["2025-12-31T23", "2026-01-01T00"]
    day = dict.fromkeys(("ok", "review", "defect", "invalid", "error"), 0)
    counts = [YieldCount(start="2026-01-01", **day | {"ok": 3, "error": 1}), YieldCount(start="2026-01-03", **day)]
    drawn = history_chart.counts_over_time(counts, "day", passed=True)
    assert "2026-01-02" in drawn
    assert "2026-01-01: 3 OK, 1 Unreadable; 100.0% passed as OK" in drawn
    assert history_view.tally(counts, "error").count("1 part whose worst picture is: Unreadable") == 1


@pytest.fixture
def moved(bundles: Callable[[], Path]) -> Iterator[Running]:
    """A station whose ring has met 60 parts, each scoring lower than all before."""
    folder = bundles()
    with Store.open(str(folder / "inspections.db")) as store:
        store.configure(StoreSettings(drift=DriftSettings(run_length=100)), by="test")
        card = open_bundle(folder / "ring").card
        record_parts(store, card, {f"part{number}": -5.0 - number for number in range(60)})
    with listening(folder) as running:
        yield running


def test_an_alarm_is_heard_on_every_page(watch: Watch, moved: Running) -> None:
    watched = watch(moved)
    page = watched.page
    watched.visit()
    page.wait_for_selector(".alarm-bar")  # by itself: no one has pressed anything
    page.get_by_role("tab", name="Models").click()
    expect(page.locator(".alarm-bar")).to_be_visible()
    page.locator(".alarm-bar [data-do=page]").click()
    expect(page.locator("#history-drift")).to_contain_text("Production has moved")
    page.locator(".alarm-bar [data-hush]").click()
    expect(page.locator(".alarm-bar")).to_have_count(0)
    watched.reload()
    page.wait_for_selector("#station-header .station-bar")
    expect(page.locator(".alarm-bar")).to_have_count(0)
    assert watched.complaints == []


def test_an_alarm_that_was_looked_into_is_silent_for_everybody(watch: Watch, moved: Running) -> None:
    watched = watch(moved)
    page = watched.page
    watched.visit("History")
    page.wait_for_selector(".alarm-bar")
    page.click("#history-check-drift")
    page.fill("#history-found-out textarea", "a new lamp")
    page.click("#history-looked-into")
    expect(page.locator("#history-drift")).to_contain_text("(a new lamp)")
    expect(page.locator(".alarm-bar")).to_have_count(0)
    expect(page.locator("#history-found-out")).to_have_count(0)
    assert watched.complaints == []
    assert moved.station.store.verify().passed
    other = watch(moved)
    other.visit("Inspect")
    expect(other.page.locator(".alarm-bar")).to_have_count(0)


def test_the_log_is_read_seldom(moved: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once for all who ask; not again before its time, and not at all while nothing is written."""
    store, bundles, now = moved.station.store, moved.station.bundles, [0.0]
    read: list[int] = []
    part_scores = store.history.part_scores

    def counted(bundle_id: str, *, after: int) -> list[PartScore]:
        found = part_scores(bundle_id, after=after)
        read.append(len(found))
        return found

    monkeypatch.setattr(store.history, "part_scores", counted)
    watch = DriftWatch(store, bundles, lambda: now[0])
    (course,) = watch.courses(wait_s=10).values()
    assert len(course.standing) > 0
    card = bundles.active().card
    for moment, reads in ((0.0, 1), (EVERY_S - 1, 1), (EVERY_S + 1, 1)):
        now[0] = moment
        watch.courses(wait_s=10)
        assert len(read) == reads, "nothing was written"
    record_parts(store, card, {"one more": 0.1})
    watch.courses(wait_s=10)
    assert len(read) == 1, "it was looked at just now"
    now[0] += EVERY_S + 1
    (again,) = watch.courses(wait_s=10).values()
    assert (read, len(again.points)) == ([60, 1], 61), "and then what was written since, no more"
