"""Words of the answer bar, which Inspect, Review and History share."""

from __future__ import annotations

from defectflow_ui.language import say

buttons = {"good": "Good", "defective": "Defective", "not this part": "Not this part", "skip": "Skip"}
answers = {"good": "good", "defective": "defective", "not this part": "not this part", "skip": "skipped"}
nobody = "Is the verdict right? Nobody has answered yet."
whole_part = "An answer is about the whole part, with all its pictures, as this model has seen it."
take_back = "Take back"
undo = "Undo"
comment_only = "Comment only"
kind = "Kind of defect"
kinds = "Kinds named so far: a click answers Defective with this kind"
kind_hint = "goes with Defective"
comment = "Comment"
comment_hint = "goes with the answer"
said_before = "Said about it"
may_not = "Answering needs the role operator. Ask whoever manages users at your site."
not_in_log = (
    "Nobody can answer for this picture: it is not in the history. It was removed there after the time that the store "
    "keeps its rows, or never written."
)
answered_meanwhile = "That part was answered meanwhile: look at what was said, and answer again if it is wrong."
nothing_to_take_back = "There is no answer to take back."
no_such_answer = "The station knows no such answer; reload the page."
taken_back = "The answer is taken back."
commented = "The comment is kept."
keys = (
    ("G", "it is good"),
    ("D", "it is defective"),
    ("N", "it is not this part"),
    ("K", "write the kind of defect"),
    ("T", "write a comment"),
    ("W", "keep the comment without an answer"),
)
take_back_key = ("U", "take the answer back")
queue_keys = (("S", "skip it for now"), ("U", "take my last answer back"))


def part(name: str) -> str:
    return say("Part {name}", name=name)


def standing(answer: str, kind: str | None, by: str) -> str:
    return say("{answer}, said {by}", answer=f"{answer} ({kind})" if kind else answer, by=by)


def answered(file: str, answer: str) -> str:
    return f"{file}: {answer}."


def rejected(file: str, *, sampled: bool) -> str:
    """The next step, which depends on whether the part may set thresholds."""
    if sampled:
        return say("{file}: good. It counts for new thresholds: page Review, once enough are answered.", file=file)
    return say("{file}: good. The model learns from it on page Train: choose its pictures with the answers.", file=file)
