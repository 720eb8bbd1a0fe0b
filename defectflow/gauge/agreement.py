"""Blind double reviews -> how far people agree with themselves, each other and the reference; and the system with them.

The tables are those of an attribute agreement study (AIAG, Measurement Systems Analysis, 4th edition, chapter III,
section C): within appraisers, between appraisers, each appraiser and the system against the reference.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from defectflow.gauge.kappa import Kappa
from defectflow.store import (
    AgreementPart,
    AgreementStudy,
)
from defectflow.verdict import Share

USUAL_PARTS = 50
"""Parts of a study: with 50 parts judged alike, at least 93% would be, with 95% confidence."""
LIMITS = {
    "acceptable": (0.90, 0.02, 0.05),
    "marginal": (0.80, 0.05, 0.10),
}
"""Effectiveness at least, miss rate and false-alarm rate at most. Source: AIAG, as above."""
UNACCEPTABLE = "unacceptable"


@dataclass(frozen=True, slots=True)
class Rate:
    """Answers of one kind among those that could be. Answers about one part hang together, so the interval counts
    parts: it is that of the same rate with one answer per part, and so rather too wide than too narrow."""

    count: int
    of: int
    parts: int

    @property
    def value(self) -> float | None:
        return self.count / self.of if self.of else None

    @property
    def interval(self) -> tuple[float, float]:
        if not self.of:
            return 0.0, 1.0
        share = self.count / self.of * self.parts
        low = Share(math.floor(share), self.parts).interval[0]
        return low, Share(math.ceil(share), self.parts).interval[1]

    def to_json(self) -> dict[str, Any]:
        return {"count": self.count, "of": self.of, "rate": self.value, "interval": list(self.interval)}


@dataclass(frozen=True, slots=True)
class AgainstReference:
    """An appraiser's answers, or the system's verdicts, against what the parts are known to be."""

    effective: Share
    """Parts judged rightly in every trial."""
    missed: Rate
    """Defective parts called good."""
    false_alarm: Rate
    """Good parts called defective."""
    kappa: Kappa
    """Of the first trial and the reference."""

    @property
    def rating(self) -> str:
        """By the handbook's limits."""
        effective, missed, alarm = self.effective.rate or 0.0, self.missed.value or 0.0, self.false_alarm.value or 0.0
        for word, (least, most_missed, most_alarms) in LIMITS.items():
            if effective >= least and missed <= most_missed and alarm <= most_alarms:
                return word
        return UNACCEPTABLE


@dataclass(frozen=True, slots=True)
class Appraiser:
    """One person who has judged every part in every trial."""

    name: str
    within: Share
    """Parts that got the same answer in every trial."""
    kappa: Kappa
    """Of the first two trials."""
    reference: AgainstReference | None
    """None where no reference is known."""
    system: Kappa
    """Of the first trial and the system's verdicts."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Two people: the first trial of each."""

    first: str
    second: str
    same: Share
    kappa: Kappa


@dataclass(frozen=True, slots=True)
class Disputed:
    """A part about which not all answers are the same, or not all are right."""

    part: AgreementPart
    good: int
    """Answers that call it good."""
    defective: int

    @property
    def reference(self) -> str:
        return "unknown" if self.part.defective is None else "defective" if self.part.defective else "good"

    @property
    def wrong(self) -> int:
        """Answers against the reference; where it is unknown, those of the minority."""
        match self.part.defective:
            case None:
                return min(self.good, self.defective)
            case True:
                return self.good
            case _:
                return self.defective


@dataclass(frozen=True, slots=True)
class AgreementResult:
    """The whole study."""

    study: AgreementStudy
    appraisers: tuple[Appraiser, ...]
    unfinished: tuple[tuple[str, int], ...]
    """(name, answers) of people who have not judged everything: they count nowhere."""
    pairs: tuple[Pair, ...]
    all_agree: Share | None
    """Parts that got the same answer from everybody in every trial; None with fewer than two people."""
    all_right: Share | None
    """The same answer, and the right one; None where no reference is known."""
    kappa: Kappa | None
    """Fleiss', of the first trial of everybody; None with fewer than two people."""
    system: AgainstReference | None
    disputed: tuple[Disputed, ...]
    """The worst first."""
    rejected_only: bool

    @property
    def answers_wanted(self) -> int:
        return self.study.trials * len(self.study.parts)

    @property
    def known(self) -> list[AgreementPart]:
        return [part for part in self.study.parts if part.defective is not None]

    def sentences(self) -> Iterator[str]:
        """What the figures rest on, and what they do not say."""
        parts = self.study.parts
        defective, good = (sum(part.defective is flag for part in parts) for flag in (True, False))
        people = "1 person has" if len(self.appraisers) == 1 else f"{len(self.appraisers)} people have"
        yield (
            f"{people} judged {len(parts)} parts {self.study.trials} times each, blind: "
            "nobody saw the verdict, another's answer, or their own earlier one, and everybody had their own order."
        )
        if self.known:
            yield f"Known to be defective are {defective} of the parts, known to be good {good}."
        else:
            yield "No part's true state is known, so nobody is compared with a reference: agreement is not correctness."
        yield (
            "The parts were chosen, and are harder than those of a day on the line: rates are about this choice of "
            "parts, not about production."
        )
        how = "rejects it" if self.rejected_only else "does not call it ok"
        yield f"The system counts as calling a part defective where it {how}. It always says the same about a picture."
        yield (
            "Kappas rest on each person's first trial; the kappa within a person compares the first trial and the "
            "second."
        )
        if self.unfinished:
            names = ", ".join(f"{name} ({count} of {self.answers_wanted})" for name, count in self.unfinished)
            yield f"Left out, as they have not judged everything: {names}."
        if len(parts) < USUAL_PARTS:
            yield f"{len(parts)} parts are few: {USUAL_PARTS} are usual, and the intervals show what that costs."

    def to_json(self) -> dict[str, Any]:
        """Plain values; the keys are part of the product's interface."""
        return {
            "study": self.study.name,
            "model": self.study.model,
            "bundle_id": self.study.bundle_id,
            "parts": len(self.study.parts),
            "trials": self.study.trials,
            "appraisers": [
                {
                    "name": one.name,
                    "within": one.within.to_json(),
                    "within_kappa": _kappa_json(one.kappa),
                    "against_reference": _against_json(one.reference),
                    "system_kappa": _kappa_json(one.system),
                }
                for one in self.appraisers
            ],
            "pairs": [
                {
                    "first": pair.first,
                    "second": pair.second,
                    "same": pair.same.to_json(),
                    "kappa": _kappa_json(pair.kappa),
                }
                for pair in self.pairs
            ],
            "all_agree": None if self.all_agree is None else self.all_agree.to_json(),
            "all_right": None if self.all_right is None else self.all_right.to_json(),
            "fleiss_kappa": None if self.kappa is None else _kappa_json(self.kappa),
            "system": _against_json(self.system),
            "disputed": [
                {
                    "part": one.part.part,
                    "good": one.good,
                    "defective": one.defective,
                    "reference": one.reference,
                    "system": one.part.decision,
                }
                for one in self.disputed
            ],
            "unfinished": [{"name": name, "answers": count} for name, count in self.unfinished],
            "notes": list(self.sentences()),
        }


def _kappa_json(kappa: Kappa) -> dict[str, Any]:
    return {"value": kappa.value, "interval": None if kappa.interval is None else list(kappa.interval)}


def _against_json(found: AgainstReference | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {
        "effective": found.effective.to_json(),
        "missed": found.missed.to_json(),
        "false_alarm": found.false_alarm.to_json(),
        "kappa": _kappa_json(found.kappa),
        "rating": found.rating,
    }
