"""axe-core on every page, in both themes. It is fetched from npm for the test and is no part of the project."""

from __future__ import annotations

import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest
from defectflow_ui.pages import PAGES
from inspecting import activate, drop
from running import Running, Watched

FETCH_S = 60
RUN = """async () => {
    document.getAnimations().forEach(one => one instanceof CSSTransition && one.finish());
    const found = await axe.run(document, {resultTypes: ['violations']});
    return found.violations.filter(one => ['serious', 'critical'].includes(one.impact))
        .map(one => `${one.id}: ${one.nodes.slice(0, 3).map(node => node.target.join(' ')).join('; ')}`);
}"""


@pytest.fixture(scope="module")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The program; skips where it cannot be had."""
    folder = tmp_path_factory.mktemp("axe")
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not installed, so axe-core cannot be fetched")
    try:
        subprocess.run([npm, "pack", "axe-core@4"], cwd=folder, capture_output=True, timeout=FETCH_S, check=True)
    except (subprocess.SubprocessError, OSError) as error:
        pytest.skip(f"axe-core cannot be fetched from npm: {error}")
    (packed,) = folder.glob("axe-core-*.tgz")
    with tarfile.open(packed) as archive:
        found = archive.extractfile("package/axe.min.js")
        assert found is not None
        return found.read().decode()


@pytest.mark.slow
def test_no_page_has_a_serious_fault_for_those_who_see_or_hear_otherwise(
    watched: Watched, local: Running, pictures: list[Path], axe: str
) -> None:
    activate(local)
    page = watched.page
    watched.visit()
    drop(page, [*pictures[:3], *pictures[14:16]])
    page.locator(f".tile[title='{pictures[14].name}']").click()
    page.wait_for_selector("#part .place")
    page.evaluate(axe)
    faults = []
    for dark in (False, True):
        page.evaluate("dark => document.body.classList.toggle('dark', dark)", dark)
        for part in PAGES:
            page.get_by_role("tab", name=part.tab).click()
            page.wait_for_timeout(1000)
            faults += [f"{part.tab}{', dark' if dark else ''}: {said}" for said in page.evaluate(RUN)]
    assert not faults, "\n".join(faults)
