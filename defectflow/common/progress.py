"""How long-running work reports progress. The core never prints; the caller decides what to show."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Progress:
    """`done` of `total` steps of a named stage, with a word on how it goes; `detail` is the figure behind that word."""

    stage: str
    done: int
    total: int
    note: str = ""
    detail: str = ""


Watch = Callable[[Progress], None]


def unwatched(progress: Progress) -> None:
    """For callers that do not want to know."""
