"""A part's pictures -> the part. Its worst picture decides. This is the only definition of that rule."""

from __future__ import annotations

import math
from collections.abc import Iterable

from defectflow.verdict.verdict import Word

PRECEDENCE: tuple[Word, ...] = ("ok", "review", "error", "defect", "invalid")
"""From harmless to worst. A picture that cannot be read outranks those that pass: no one has seen the whole part."""


def worst_word(words: Iterable[Word]) -> Word:
    """What a part's pictures make of it. Raises ValueError if there is none."""
    return max(words, key=PRECEDENCE.index)


def worst_score(scores: Iterable[float]) -> float:
    """The largest score of a part's pictures; +infinity where one is not a number, in whatever order they come.

    Raises ValueError if there is none.
    """
    return max(math.inf if math.isnan(score) else score for score in scores)


def rank(word: Word | None, score: float | None) -> tuple[int, float]:
    """Sorts pictures from harmless to worst: by verdict, then by score. Without verdicts scores alone decide.

    A picture that was judged but whose score is not a number is the worst of its kind; unreadable ones have no score.
    """
    lowest = -math.inf if word == "error" else math.inf
    return PRECEDENCE.index(word or "ok"), lowest if score is None else worst_score([score])
