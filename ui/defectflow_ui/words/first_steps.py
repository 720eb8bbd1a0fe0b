"""Words of the first steps at a new station."""

from __future__ import annotations

from defectflow_ui.language import say

title = "First steps"
promise = (
    "See what it promises: of good parts, at most this share is rejected. Calibrate sets another share, also where the "
    "parts were too few for the first one."
)
activate = "Activate it: from then on it judges here."
judge = "Drop pictures here, or use a camera. Untick the trial, so that what is judged is kept."
answer = (
    "Answer whether parts are good or defective: rejected ones here, sampled ones on Review. Answers about sampled "
    "parts can improve the thresholds."
)
report = "Look at the history, and keep a report of a shift."
done = "done"
go = "Go there"
hide = "I know my way"


def learn(parts: int, rate: float) -> str:
    return say(
        "Train a model on pictures of good parts: {parts} for a promise of {rate:.0%}, fewer for a higher rate. No "
        "defective ones are needed.",
        parts=parts,
        rate=rate,
    )


def so_far(done: int, steps: int) -> str:
    return say("First steps: {done} of {steps} done", done=done, steps=steps)
