"""What a store has seen -> the parts of a study of agreement: some near the threshold, the others from both sides."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from defectflow.errors import DataError
from defectflow.store import (
    AgreementPart,
    Answer,
    PartInspection,
    Store,
)


def choose_parts(
    store: Store,
    bundle_id: str,
    *,
    parts: int,
    known: Mapping[str, bool],
    only_known: bool,
    threshold: float,
    seed: int = 0,
) -> list[AgreementPart]:
    """Parts that the store has seen and still has all pictures of: a third nearest the threshold, the others half from
    those called ok and half from the rest, at random.

    `known`: part -> whether it is defective, as far as somebody knows; with `only_known`, no other part is chosen.
    Raises DataError where there are too few.
    """
    found = [
        part
        for part in store.reviews.parts(bundle_id)
        if part.judged and all(store.picture(picture) is not None for picture in part.judged)
    ]
    if only_known:
        found = [part for part in found if part.part in known]
    if len(found) < 2:
        raise DataError(
            f"the store has {len(found)} parts{' whose state is known' if only_known else ''} with pictures that can "
            "be shown; inspect more with --store, or let it keep pictures (defectflow log settings --set pictures=copy)"
        )
    random = np.random.default_rng(seed)
    near = sorted(found, key=lambda part: abs(_finite(part) - threshold))[: parts // 3]
    chosen = {part.part: part for part in near}
    for passed in (True, False):
        rest = [part for part in found if (part.decision == "ok") is passed and part.part not in chosen]
        wanted = (parts - len(near)) // 2 if passed else parts - len(near) - (parts - len(near)) // 2
        for place in random.permutation(len(rest))[:wanted].tolist():
            chosen[rest[place].part] = rest[place]
    others = [part for part in found if part.part not in chosen]
    for place in random.permutation(len(others))[: max(0, parts - len(chosen))].tolist():
        chosen[others[place].part] = others[place]  # of one side there were too few
    return [_asked_about(part, known) for part in chosen.values()]


def _finite(part: PartInspection) -> float:
    return part.score if part.score is not None and math.isfinite(part.score) else 1e30


def _asked_about(part: PartInspection, known: Mapping[str, bool]) -> AgreementPart:
    """Each different picture once, in the order of their first inspection."""
    pictures = {picture.sha256 or picture.file: picture.id for picture in reversed(part.judged)}
    score = part.score if part.score is not None and math.isfinite(part.score) else None
    numbers = tuple(sorted(pictures.values()))
    return AgreementPart(part.part, numbers, part.decision, score, known.get(part.part))


def known_by_answers(store: Store, bundle_id: str) -> dict[str, bool]:
    """Part -> whether it is defective, by the answer that stands in the store."""
    states = {Answer.GOOD: False, Answer.DEFECTIVE: True}
    return {part.part: states[part.answer] for part in store.reviews.parts(bundle_id) if part.answer in states}
