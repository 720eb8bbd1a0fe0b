"""Words of the first steps at a new station."""

from __future__ import annotations

title = "First steps"
learn = "Train a model on pictures of good parts. 30 will do; no defective ones are needed."
promise = "See what it promises: of good parts, at most this share is rejected. Calibrate sets another share."
activate = "Activate it: from then on it judges here."
judge = "Drop pictures here, or use a camera. Untick the trial, so that what is judged is kept."
answer = "Answer about what was rejected or sampled: good or defective. Enough answers make better thresholds."
report = "Look at the history, and keep a report of a shift."
done = "done"
go = "Go there"
hide = "I know my way"
