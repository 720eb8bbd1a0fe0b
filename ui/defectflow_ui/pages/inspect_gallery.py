"""The gallery of the page Inspect and the buttons above it, as HTML. Every name that came from outside is escaped."""

from __future__ import annotations

import html

from defectflow_ui.inspecting.inspection import TILES, Inspection
from defectflow_ui.inspecting.judged import DECISIONS, Judged
from defectflow_ui.markup.theme import badge, empty
from defectflow_ui.words import inspect as words


def nothing_yet() -> str:
    return empty(words.nothing_yet, words.nothing_yet_do)


def counts(inspection: Inspection) -> str:
    """A button per decision with its count; pressed: only those are shown."""
    found = inspection.counts()
    chips = [_chip("all", words.all, len(inspection.rows), inspection.only is None, ' data-key="a"')]
    chips += [
        _chip(decision, badge(decision, small=True), found[decision], inspection.only == decision)
        for decision in DECISIONS
        if found[decision] or inspection.only == decision
    ]
    if inspection.what_if is not None:
        chips.append(_chip("flip", words.flips, len(inspection.flips()), inspection.only == "flip"))
    return f'<div class="chips">{"".join(chips)}</div>'


def _chip(only: str, label: str, count: int, pressed: bool, more: str = "") -> str:
    state = "true" if pressed else "false"
    return (
        f'<button type="button" class="chip" data-only="{only}" aria-pressed="{state}"{more}>{label} {count}</button>'
    )


def gallery(inspection: Inspection) -> str:
    """The first pictures of the chosen order and filter, and a button for more of them."""
    rows = inspection.shown()
    if not rows:
        return empty(words.nothing_shown, words.nothing_shown_do) if inspection.rows else nothing_yet()
    tiles = "".join(_tile(inspection, row) for row in rows[: inspection.tiles])
    left = len(rows) - inspection.tiles
    more = ""
    if left > 0:
        said = words.more(min(left, TILES), inspection.tiles, len(rows))
        more = f'<button type="button" class="link-button more" data-more="1" data-key="m">{said}</button>'
    return f'<div class="gallery">{tiles}{more}</div>'


def _tile(inspection: Inspection, row: Judged) -> str:
    now, before = row.decision(inspection.what_if), row.decision()
    name = html.escape(row.name)
    picture = (
        f'<img src="{row.thumbnail}" alt="" loading="lazy">' if row.thumbnail else '<span class="no-picture">!</span>'
    )
    score = f"{row.verdict.score:.2f}" if row.verdict is not None else ""
    changed = f'<span class="changed">{words.flip(before, now)}</span>' if now != before else ""
    return (
        f'<button type="button" class="tile {now}" data-number="{row.number}" data-decision="{now}" title="{name}" '
        f'aria-pressed="{"true" if row.number == inspection.chosen else "false"}">{picture}{badge(now, small=True)}'
        f'<span class="score">{score}</span>{changed}<span class="name"><bdi>{name}</bdi></span></button>'
    )
