"""A model of several products at the station: each is listed, and a tab inspects the one that is chosen there."""

from __future__ import annotations

from pathlib import Path

from inspecting import drop
from running import Watch, listening
from support import join_products

from defectflow.bundle import open_bundle
from defectflow.line import recalibrate
from defectflow.store import Query


def test_the_chosen_product_judges(watch: Watch, uncalibrated_path: Path, swatch_folder: Path, tmp_path: Path) -> None:
    line = join_products(tmp_path / "line", {"left": uncalibrated_path, "right": uncalibrated_path})
    for name, rate in (("left", 0.25), ("right", 0.4)):
        recalibrate(open_bundle(line / "products" / name), rate=rate, guarantee="expected", review_rate=0.5)
    with listening(tmp_path) as running:
        station = running.station
        assert [(one.name, one.error) for one in station.bundles.all()] == [("line/left", None), ("line/right", None)]
        station.bundles.activate("line/left", by="test", reason="test")
        assert station.bundles.inspector("right") is station.bundles.inspector("right"), "loaded once"
        page = watch(running)
        page.visit()
        page.page.locator("#inspect-product input").click()
        page.page.get_by_role("option", name="right").click()
        drop(page.page, sorted(swatch_folder.glob("*.png"))[:2])
        rows = station.store.history.search(Query(limit=5))
        assert {(row.model, row.product) for row in rows} == {("line/right", "right")}
        limit = open_bundle(line / "products" / "right").card.require_calibration().threshold.value
        assert {row.threshold for row in rows} == {limit}
