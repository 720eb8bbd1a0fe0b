"""Pictures of master parts -> a registered set; new pictures of them -> a check, in the store. What `golden` does.

A check asks whether camera, light, fixture and model together still see what they saw, so it needs new pictures: those
of an earlier check are refused.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from defectflow.bundle import Card
from defectflow.common import Progress, Watch, unwatched
from defectflow.data import Picture, label_of_folders
from defectflow.errors import DataError, ImageError, SettingsError
from defectflow.gauge.control import BASELINE, Chart, chart_of
from defectflow.line import Inspector
from defectflow.store import GoldenSettings, JudgedMaster, MasterPart, MasterRun, MasterSet, Release, Store
from defectflow.verdict import TOLERANCE, Verdict, Word, rank

EXPECTED: dict[str, tuple[Word, ...]] = {"good": ("ok",), "defective": ("defect", "invalid")}
"""What a master part of this label may be judged as when it is registered; from then on it must be judged the same."""
EXPECTABLE: tuple[Word, ...] = ("ok", "review", "defect", "invalid")


@dataclass(frozen=True, slots=True)
class Standing:
    """How a model stands: its master parts, their charts, and whether it is released."""

    masters: MasterSet | None
    runs: tuple[MasterRun, ...]
    charts: tuple[Chart, ...]
    release: Release


def standing(store: Store, card: Card, settings: GoldenSettings | None = None) -> Standing:
    """`settings`: the store's own, unless others are given. Raises NotCalibrated, StoreError."""
    masters = store.masters.current(card.bundle_id)
    runs = [] if masters is None else store.masters.runs(masters)
    charts = () if masters is None else tuple(_charts(masters, runs, card))
    return Standing(masters, tuple(runs), charts, store.masters.release(card, settings or store.settings.golden))


def register_masters(
    store: Store,
    inspector: Inspector,
    pictures: Sequence[Picture],
    *,
    by: str,
    expect: Mapping[str, Word] | None = None,
    limits: Mapping[str, tuple[float, float]] | None = None,
    baseline: int = BASELINE,
    watch: Watch = unwatched,
) -> MasterRun:
    """Make these the model's master parts; judging them now is the first check.

    A part must be judged as its label says (good: ok, defective: defect or invalid), or as `expect` does; and the same
    from then on. `limits`: of scores.
    Raises DataError where a picture cannot be read or was judged before (a line that was not released is not released
    by registering anew), names clash, nothing says what a part is, or the model judges it otherwise: a set that fails
    from its first day would only ever stop the line.
    """
    groups = _by_name(pictures)
    expect, limits = dict(expect or {}), dict(limits or {})
    for said in (expect, limits):
        if unknown := next((name for name in said if name not in groups), None):
            raise SettingsError(f"{unknown}: there is no such master part; there are {', '.join(groups)}")
    if baseline < 2:
        raise SettingsError(f"limits cannot be computed from {baseline} checks; give 2 or more, {BASELINE} is usual")
    for name, (low, high) in limits.items():
        if not low < high:
            raise SettingsError(f"{name}: the lower limit {low:g} is not below the upper one {high:g}")
    allowed = {name: _allowed(name, several, expect) for name, several in groups.items()}
    judged = []
    for one in _judge(inspector, groups, {name: words[0] for name, words in allowed.items()}, watch):
        words = allowed[one.name]
        if one.decision not in words:
            raise DataError(
                f"{one.name}: is judged {one.decision}, and should be {' or '.join(words)}; choose another part, or "
                f"say what is right with --expect {one.name}={one.decision}"
            )
        judged.append(replace(one, expected=one.decision))
    _refuse_old_pictures(store, inspector.card, judged)
    parts = [MasterPart(one.name, one.expected, limits.get(one.name), one.sha256) for one in judged]
    _, run = store.masters.register(inspector.card, parts, judged, baseline=baseline, by=by)
    return run


def check_masters(
    store: Store, inspector: Inspector, pictures: Sequence[Picture], *, by: str, watch: Watch = unwatched
) -> MasterRun:
    """Judge new pictures of the registered master parts, and write down what came of it.

    A part's worst picture decides; one without a picture fails the check. Raises DataError where no set is registered,
    a picture shows none of its parts, or was judged before.
    """
    card = inspector.card
    masters = store.masters.current(card.bundle_id)
    if masters is None:
        raise DataError(
            f"{card.name}: no master parts are registered for this model; register them first: defectflow golden "
            "BUNDLE PICTURES --register --store STORE"
        )
    groups = _by_name(pictures)
    names = [part.name for part in masters.parts]
    if strangers := [name for name in groups if name not in names]:
        raise DataError(
            f"{groups[strangers[0]][0].path}: shows {strangers[0]!r}, which is no master part; they are called "
            f"{', '.join(names)}. Name the pictures like them, or give a --part-regex"
        )
    runs = store.masters.runs(masters)
    judged = _judge(inspector, groups, {part.name: part.expected for part in masters.parts}, watch)
    _refuse_old_pictures(store, card, judged)
    charts = _charts(masters, runs, card, judged)
    judged = [replace(one, signal=chart.signals[-1]) for one, chart in zip(judged, charts, strict=True)]
    return store.masters.record(card, masters, judged, by=by)


def _by_name(pictures: Iterable[Picture]) -> dict[str, list[Picture]]:
    """Master part -> its pictures, in order. A part is named as pictures name it, else by its file without suffix."""
    groups: dict[str, list[Picture]] = {}
    for picture in pictures:
        name = picture.part if picture.part_known else PurePosixPath(picture.part).name
        groups.setdefault(name, []).append(picture)
    for name, several in groups.items():
        if len({picture.label for picture in several}) > 1:
            raise DataError(
                f"{several[0].path}: and {several[-1].path} would be one master part, {name!r}, good and defective at "
                "once; rename one, or give a --part-regex"
            )
    return dict(sorted(groups.items()))


def _allowed(name: str, pictures: Sequence[Picture], expect: Mapping[str, Word]) -> tuple[Word, ...]:
    if name in expect:
        return (expect[name],)
    label = pictures[0].label or label_of_folders(pictures[0].name)
    if label is None:
        raise DataError(
            f"{name}: nothing says whether this master part is good or defective; put its pictures into a folder "
            f"called good or defective, or say it with --expect {name}=ok"
        )
    return EXPECTED[label]


def _judge(
    inspector: Inspector, groups: Mapping[str, Sequence[Picture]], expected: Mapping[str, Word], watch: Watch
) -> list[JudgedMaster]:
    """Every part of `expected`, in its order; those without pictures as such."""
    every = [picture.path for several in groups.values() for picture in several]
    items: list[Verdict | ImageError] = []
    for item in inspector.inspect(every):
        items.append(item)
        watch(Progress("masters", len(items), len(every)))
    found = dict(zip(every, items, strict=True))
    return [_judged(name, word, [found[one.path] for one in groups.get(name, ())]) for name, word in expected.items()]


def _judged(name: str, expected: Word, items: Sequence[Verdict | ImageError]) -> JudgedMaster:
    if not items:
        return JudgedMaster(name, expected, None, None)
    seen = [item for item in items if isinstance(item, Verdict)]
    words: list[tuple[Word, float | None]] = [(item.decision.word, item.score) for item in seen]
    if len(seen) < len(items):
        words.append(("error", None))
    worst, _ = max(words, key=lambda one: rank(*one))
    sha256 = tuple(item.sha256 for item in seen if item.sha256 is not None)
    scores = [item.score for item in seen if math.isfinite(item.score)]
    return JudgedMaster(name, expected, worst, max(scores, default=None), sha256)


def _refuse_old_pictures(store: Store, card: Card, judged: Sequence[JudgedMaster]) -> None:
    """Of any set of this model: raises DataError."""
    runs = store.masters.between(None, None, card.bundle_id)
    known = {sha256: run.at for run in runs for one in run.judged for sha256 in one.sha256}
    for one in judged:
        if old := next((known[sha256] for sha256 in one.sha256 if sha256 in known), None):
            raise DataError(
                f"{one.name}: this very picture was judged already, on {old:%Y-%m-%d %H:%M} UTC; picture the master "
                "parts anew, since a check is about camera and light as well (defectflow verify checks the software)"
            )


def _charts(masters: MasterSet, runs: Sequence[MasterRun], card: Card, now: Sequence[JudgedMaster] = ()) -> list[Chart]:
    """Each part's scores of all checks, and of the one that is being made."""
    checks = [*(run.judged for run in runs), *([now] if now else [])]
    passed = [all(one.right for one in judged) for judged in checks]
    scores: dict[str, list[float | None]] = {part.name: [] for part in masters.parts}
    for judged in checks:
        for one in judged:
            scores[one.name].append(one.score)
    return [
        chart_of(
            part.name,
            scores[part.name],
            limits=part.limits,
            baseline=masters.baseline,
            resolution=TOLERANCE * card.good_spread,
            passed=passed,
        )
        for part in masters.parts
    ]
