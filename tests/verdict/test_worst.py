"""A part's worst picture decides, in whatever order its pictures come."""

from __future__ import annotations

import math
from itertools import permutations

from defectflow.line.journal import Part, Row
from defectflow.verdict import worst_score, worst_word


def test_what_is_no_number_is_worse_than_any_in_every_order() -> None:
    for scores in permutations([1.0, math.nan, 3.0]):
        assert worst_score(scores) == math.inf
    assert worst_score([1.0, 3.0, 2.0]) == 3.0


def test_a_part_of_which_a_picture_could_not_be_read_is_not_ok() -> None:
    assert worst_word(["ok", "error"]) == "error"
    assert worst_word(["error", "review"]) == "error"
    assert worst_word(["error", "defect"]) == "defect"
    assert worst_word(["invalid", "defect", "error"]) == "invalid"


def test_a_journal_s_part_is_judged_alike() -> None:
    def row(file: str, decision: str, score: float | None) -> Row:
        return Row.model_validate({"file": file, "part": "7", "decision": decision, "score": score})

    seen, unread, strange = row("a", "ok", 0.1), row("b", "error", None), row("c", "defect", None)
    for rows in permutations([seen, unread]):
        assert Part("7", tuple(rows)).worst is unread
    for rows in permutations([row("d", "defect", 9.0), strange]):
        assert Part("7", tuple(rows)).worst is strange  # no number at all
