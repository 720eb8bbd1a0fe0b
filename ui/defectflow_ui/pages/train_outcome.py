"""What a data check has found, and what a training has made, on the page Train."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from markupsafe import Markup

from defectflow.bundle import Bundle, CalibrationPart, Card
from defectflow.verdict import advised_rate
from defectflow_ui.markup.elements import problem
from defectflow_ui.markup.render import render
from defectflow_ui.models.bundles import evaluation_of
from defectflow_ui.pictures import file_picture, file_thumbnail, large
from defectflow_ui.visits.served import Served
from defectflow_ui.words import calibrate
from defectflow_ui.words import train as words

SUSPECTS, UNSURE = 24, 8
MARKS = {"fine": ("ok", "✓"), "note": ("error", "i"), "look": ("review", "?"), "stop": ("defect", "✕")}
NameOf = Callable[[str], str]
Pictures = Mapping[tuple[str | None, str], list[Path]]
"""Those of each part, by (product, part)."""
Tile = dict[str, Any]


SETTING = re.compile(r"\(verdict\.rate=[^)]*\)")
"""How the command tells a rate that fewer parts support; here it is a field of the form."""


def checks_found(
    found: Mapping[str, dict[str, Any] | None], name_of: NameOf, served: Served, aside: Mapping[str, str]
) -> Markup:
    """What the check has found of each product, or of the one there is, whose name is empty.

    `aside`: what was put aside by name, as "out" or "bad".
    """
    return Markup().join(_check_found(product, one, name_of, served, aside) for product, one in found.items())


def _check_found(
    product: str, found: dict[str, Any] | None, name_of: NameOf, served: Served, aside: Mapping[str, str]
) -> Markup:
    """Verdicts with their remedies, and the pictures to look at first; None: the check was cut short."""
    if found is None:
        return problem(words.no_result)
    names = {path: name_of(path) for path in _paths(found)}
    suspects = [
        _tile(one["path"], name_of, served, where=one["where"], rank=one["rank"], stands_out=one["stands_out"])
        for one in found["suspects"][:SUSPECTS]
    ]
    return render(
        "train/findings.html",
        words=words,
        product=product,
        findings=[_finding(one, names) for one in found["findings"]],
        siblings=found["siblings"],
        suspects=suspects,
        aside=aside,
    )


def _finding(one: dict[str, Any], names: dict[str, str]) -> dict[str, str]:
    """A finding as a row of the table."""
    colour, icon = MARKS[one["gravity"]]
    said, remedy = (_named(one[key], names) for key in ("said", "remedy"))
    remedy = remedy.replace("--part-regex", f"“{words.part_regex}”")
    remedy = SETTING.sub(words.in_the_form, remedy).replace("verdict.guarantee=confident", words.confident)
    return one | {"colour": colour, "icon": icon, "said": said, "remedy": remedy}


def _paths(found: dict[str, Any]) -> list[str]:
    """Every picture that a finding may name."""
    single = [one["path"] for key in ("suspects", "unreadable") for one in found[key]]
    pairs = [path for key in ("exact", "near") for pair in found[key] for path in pair]
    return [*single, *pairs, *(one["example"] for one in found["formats"])]


def _named(said: str, names: dict[str, str]) -> str:
    """A finding with pictures called as their owner knows them; the server's folders are nobody's business."""
    for path, name in names.items():
        said = said.replace(path, name)
    return said


def _tile(file: str, name_of: NameOf, served: Served, **told: Any) -> Tile:
    address = served.put(lambda: file_thumbnail(Path(file)), "image/jpeg")
    enlarged = served.put(lambda: file_picture(Path(file), large), "image/jpeg")
    return {"address": address, "large": enlarged, "name": name_of(file), "where": None, **told}


def _too_few(card: Card) -> str:
    """Why there are no thresholds, and what can be done on these pages."""
    parts = card.calibration_parts
    lowest = advised_rate(len(parts), card.wanted_guarantee, gated=sum(part.score is None for part in parts))
    return words.uncalibrated(len(parts), card.wanted_rate, lowest)


@dataclass(frozen=True, slots=True)
class Model:
    """A new model, or one product's of a model of several."""

    product: str | None
    card: Card
    evaluation: dict[str, Any] | None
    unsure: list[Tile]
    """The calibration parts with the highest scores, whose pictures are still there."""
    too_few: str
    """Why there are no thresholds, and what can be done on these pages; empty where there are some."""
    changed_later: bool
    """Whether it has other thresholds by now than this card, which is as it was trained."""


def model(bundle: Bundle, card: Card, pictures: Pictures, name_of: NameOf, served: Served) -> Model:
    """What a training has made. `card`: as it was then; `pictures`: what it was trained on."""
    product = bundle.product
    worst = sorted(card.calibration_parts, key=lambda part: -part.calibrated_score)
    unsure = [
        _tile(str(pictures[product, part.part][0]), name_of, served, score=_score(part, card))
        for part in worst[:UNSURE]
        if (product, part.part) in pictures
    ]
    return Model(
        product,
        card,
        evaluation_of(replace(bundle, card=card)),
        unsure,
        too_few="" if card.calibration else _too_few(card),
        changed_later=card.calibration_id != bundle.card.calibration_id,
    )


def trained(models: Sequence[Model], *, tested: bool) -> Markup:
    """What the new model promises, how it did on test pictures, and what it is least sure of; of each product."""
    return render("train/trained.html", words=words, models=models, tested=tested, calibrate=calibrate.tab)


def _score(part: CalibrationPart, card: Card) -> str:
    if part.score is None:
        return words.refused
    if card.calibration is None:
        return words.score_only(part.score)
    return words.score_of(part.score, card.calibration.threshold.value)
