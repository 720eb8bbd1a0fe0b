"""What all pages share: words, tips, contrast, the end of a session."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import defectflow_ui
import pytest
import yaml
from defectflow_ui.markup.render import TEMPLATES
from defectflow_ui.pages import PAGES, calibrate_view, history_chart, models_view, train_outcome
from defectflow_ui.settings import Limits
from inspecting import wait_for
from running import PASSWORD, Running, Watch, Watched, call

import defectflow
from defectflow.gauge import PartScores
from defectflow.store.drift import Drift

UI = Path(defectflow_ui.__file__).parent
TERMS = ("AUROC", "95%", "borderline", "σ", "backbone", "density", "grey band", "train / tune", "Has production moved")
"""What a quality engineer need not know: wherever one of them is a heading or a label, it has a tip."""


def test_every_word_is_used() -> None:
    """By a page that imports its module, by a template of that page, or by the module itself."""
    named: dict[str, set[str]] = {}
    for template in TEMPLATES.rglob("*.html"):
        module = {"frame": "common", "templates": "inspect"}.get(template.parent.name, template.parent.name)
        found = re.findall(r"\bwords\.(\w+)", template.read_text(encoding="utf-8"))
        named.setdefault(module, set()).update(found)
    for file in [*UI.rglob("*.py"), *Path(defectflow.__file__).parent.glob("cli/*.py")]:
        tree = ast.parse(file.read_text(encoding="utf-8"))
        modules = {file.stem: file.stem} if file.parent.name == "words" else {}
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("defectflow_ui.words"):
                for name in node.names:
                    if node.module == "defectflow_ui.words":
                        modules[name.asname or name.name] = name.name
                    else:
                        named.setdefault((node.module or "").rpartition(".")[2], set()).add(name.name)
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in modules:
                named.setdefault(modules[node.value.id], set()).add(node.attr)
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and file.parent.name == "words":
                named.setdefault(file.stem, set()).add(node.id)
    unused = []
    for file in (UI / "words").glob("*.py"):
        for statement in ast.parse(file.read_text(encoding="utf-8")).body:
            used = named.get(file.stem, set()) | {"tab"}
            unused += [f"{file.stem}.{name}" for name in _defined(statement) if name not in used]
    assert unused == []


def _defined(statement: ast.stmt) -> Iterator[str]:
    match statement:
        case ast.FunctionDef(name=name):
            yield name
        case ast.Assign(targets=[ast.Name(id=name)]):
            yield name


def test_terms_have_tips(local: Running) -> None:
    """A term in a heading, a label or a legend stands inside a tip; in whole sentences it need not."""
    bundle = local.station.bundles.find("ring")
    scores = PartScores.of(bundle, local.station.store)
    share = {"count": 1, "of": 20, "interval": [0.0, 0.2]}
    figures = {"part_auroc": 0.9, "overkill": share, "escape": share, "overkill_inside": True, "seen_in_fit": 0}
    rows = [("", scores.tradeoff.at(0.5, 0.4))]
    shown = {
        "calibrate": calibrate_view.table(rows) + calibrate_view.histogram(scores, [], calibrate_view.axis(scores)),
        "train": train_outcome.trained(
            [train_outcome.Model(None, bundle.card, figures, [], too_few="", changed_later=False)], tested=True
        ),
        "models": models_view.cards(local.station, _Reader(), "ring", None),  # type: ignore[arg-type]
        "comparison": "".join(f"<th>{name}</th>" for name, why in models_view.words.comparison_head if not why),
        "history": history_chart.drift(Drift((), 100, None)),
    }
    bare = []
    for page, content in shown.items():
        labels = re.findall(r"<(?:th|h4|span)(?: [^>]*)?>([^<]+)<", re.sub(r'<span class="tip".*?</span>', "", content))
        labels += [row[0] for row in re.findall(r"<tr><td>([^<]+)</td>", content)]
        bare += [f"{page}: {label}" for label in labels for term in TERMS if term in label]
    assert bare == []
    tips = {page: content.count('class="tip"') for page, content in shown.items()}
    assert tips["calibrate"] >= 5 and tips["train"] == 3 and tips["models"] >= 10 and tips["history"] == 1, tips


class _Reader:
    """Somebody who looks, to whom nothing is served."""

    class served:  # noqa: N801
        @staticmethod
        def put(*_: object, **__: object) -> str:
            return "/served/x"


FILLED = {
    "Inspect": "#drop-zone",
    "Live": "#live",
    "Review": "#review-part",
    "History": "#history-list",
    "Calibrate": "#calibrate-versions",
    "Train": "#train-state",
    "Models": "#bundles",
    "Masters": "#masters-standing",
    "Agreement": "#agreement-part",
    "Users": "#users",
}
"""What has words in it once a page has opened."""
HAS_WORDS = "place => document.querySelector(`${place} .html-container`)?.innerText.trim()"
"""Its own ones: beside them, Gradio may say that it is waiting."""
SWEEP = (Path(__file__).parent / "contrast.js").read_text(encoding="utf-8")


@pytest.mark.parametrize("dark", [False, True])
def test_all_text_can_be_read(watched: Watched, local: Running, dark: bool) -> None:
    """WCAG 2: 4.5 between text and ground, 3 for large text; measured on the pages themselves."""
    page = watched.page
    local.station.bundles.activate("ring", by="test", reason="test")
    watched.visit()
    page.evaluate("dark => document.body.classList.toggle('dark', dark)", dark)
    weak = []
    for one in PAGES:
        page.get_by_role("tab", name=one.tab).click()
        page.wait_for_function(HAS_WORDS, arg=FILLED[one.tab])
        weak += [f"{one.tab}: {said}" for said in page.evaluate(SWEEP.partition("\n")[2])]
    assert weak == []


def _colours(css: str, selector: str) -> dict[str, str]:
    inside = re.search(rf"^{re.escape(selector)} {{(.*?)}}", css, re.M | re.S)
    assert inside is not None
    return dict(re.findall(r"--([\w-]+): (#[0-9a-f]{3,6})", inside[1]))


def _luminance(colour: str) -> float:
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4
        for part in (int(digits[place : place + 2], 16) / 255 for place in (0, 2, 4))
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    """WCAG 2.2: (L1 + 0.05) / (L2 + 0.05), the lighter one above."""
    high, low = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("selector", [":root", ".dark"])
def test_verdict_colours_stand_out(selector: str) -> None:
    """As text on their badges and on the page, as icons, and as bars of a chart."""
    assert contrast("#fff", "#000000") == pytest.approx(21)
    css = (UI / "assets" / "station.css").read_text(encoding="utf-8")
    colours = _colours(css, selector)
    weak = {}
    for verdict in ("ok", "review", "defect", "invalid", "error"):
        for ground in (f"{verdict}-soft", "card", "ground"):
            weak[verdict, ground] = contrast(colours[verdict], colours[ground])
    for text in ("ink", "quiet", "accent"):
        for ground in ("card", "ground"):
            weak[text, ground] = contrast(colours[text], colours[ground])
    weak["ink", "review-soft"] = contrast(colours["ink"], colours["review-soft"])
    assert {pair: round(found, 2) for pair, found in weak.items() if found < 4.5} == {}


def questions(watched: Watched) -> int:
    """How often the page has asked the station for something, but for its own files."""
    return sum("/gradio_api/" in url for url in watched.asked)


def test_a_session_that_has_ended_is_said_once(watch: Watch, guarded: Running) -> None:
    watched = watch(guarded)
    page = watched.page
    page.goto("/sign-in")
    page.fill("[name=name]", "viewer")
    page.fill("[name=password]", PASSWORD)
    page.click("button")
    page.wait_for_selector("#station-header .station-bar")
    page.get_by_role("tab", name="Models").click()
    page.wait_for_selector("[data-bundle=ring]")
    guarded.station.sessions.close()
    page.locator("[data-bundle=ring]").dispatch_event("click")  # a timer may have asked first, and its dialog be open
    page.wait_for_selector("#station-over")
    assert page.evaluate("document.activeElement.textContent") == "Continue"
    page.keyboard.press("Escape")  # to copy what was typed, say; every further step is in vain, and quiet
    page.locator("[data-bundle=swatch]").click()
    page.get_by_role("tab", name="History").click()
    asked = questions(watched)
    page.wait_for_timeout(2500)
    assert questions(watched) == asked, "it is asked no more"
    assert page.locator("#station-over").count() == 1
    assert page.locator(".toast-body").count() == 0
    page.goto("/")
    page.wait_for_url("**/sign-in")


def test_models_are_chosen_by_arrow_keys(watched: Watched) -> None:
    page = watched.page
    watched.visit("Models")
    page.locator("[data-bundle=ring]").click()
    page.wait_for_selector("[data-bundle=ring][aria-pressed=true]")
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("ArrowRight")
    page.wait_for_selector("[data-bundle=swatch][aria-pressed=true]")
    page.keyboard.press("ArrowLeft")
    page.wait_for_selector("[data-bundle=ring][aria-pressed=true]")


def test_timers_rest_while_nothing_runs(watched: Watched, local: Running) -> None:
    page = watched.page
    watched.visit()
    page.get_by_role("tab", name="Train").click()
    wait_for(lambda: not local.station.drift.looking, "drift is looked at in the beginning")
    asked = list[int]()
    for _ in range(5):  # the first may still see pages open
        before = questions(watched)
        page.wait_for_timeout(4000)
        asked.append(questions(watched) - before)
        if asked[-1] <= 2:  # one look at the header, at most: a question and its answer
            return
    raise AssertionError(f"questions in 4 s: {asked}")


def test_what_only_engineers_may_is_refused(guarded: Running) -> None:
    """Over HTTP, as somebody would who does not use the page."""
    viewer, operator = guarded.client("viewer"), guarded.client("operator")
    version = guarded.station.bundles.find("ring").card.calibration_id
    for client in (viewer, operator):
        again = call(client, "calibrate-versions", "version", [], {"version": str(version)})
        assert "needs the role 'engineer'" in again["output"]["error"]
        dropped = call(client, "train-drop", "dropped", [], {"drop": "x"})
        assert "needs the role 'engineer'" in dropped["output"]["error"]
        saved = call(client, "calibrate-save", "click", ["mine", "because", True])
        assert "needs the role 'engineer'" in saved["output"]["error"]
    assert viewer.post("/drop").status_code == 403, "a viewer sends no picture, to Train either"


def test_the_servers_image_has_room_for_an_upload() -> None:
    compose = yaml.safe_load((UI.parents[1] / "deploy" / "docker-compose.yml").read_text(encoding="utf-8"))
    (temporary,) = compose["services"]["server"]["tmpfs"]
    room = re.fullmatch(r"/tmp:size=(\d+)g", temporary)
    assert room is not None, "without a size it takes half of the machine's memory"
    assert int(room[1]) * 2**30 > Limits().drop_bytes
