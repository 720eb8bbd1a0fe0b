"""Blind double reviews -> how far people agree with themselves, each other and the reference; and the system with them.

The tables are those of an attribute agreement study (AIAG, Measurement Systems Analysis, 4th edition, chapter III,
section C): within appraisers, between appraisers, each appraiser and the system against the reference.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from defectflow.errors import DataError, StoreError
from defectflow.gauge.kappa import Kappa, cohen, fleiss
from defectflow.store import (
    AgreementAnswer,
    AgreementPart,
    AgreementStudy,
    Answer,
    PartInspection,
    Store,
)
from defectflow.verdict import Share, Word

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
        yield (
            f"{len(self.appraisers)} people have judged {len(parts)} parts {self.study.trials} times each, blind: "
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


def analyse(store: Store, study: AgreementStudy, *, rejected_only: bool = False) -> AgreementResult:
    """Raises StoreError where nobody has judged everything yet."""
    by_person: dict[str, list[AgreementAnswer]] = {}
    for answer in store.agreement.answers(study):
        by_person.setdefault(answer.by, []).append(answer)
    wanted = study.trials * len(study.parts)
    finished = {name: _table(study, given) for name, given in sorted(by_person.items()) if len(given) == wanted}
    unfinished = tuple((name, len(given)) for name, given in sorted(by_person.items()) if len(given) < wanted)
    if not finished:
        began = ", ".join(f"{name}: {count} of {wanted}" for name, count in unfinished) or "nobody has begun"
        raise StoreError(
            f"study {study.name!r}: nobody has judged all parts yet ({began}); go on, on the page Agreement"
        )
    system = np.array([_called_defective(part.decision, rejected_only) for part in study.parts])
    appraisers = tuple(_appraiser(name, said, study, system) for name, said in finished.items())
    everybody = np.stack(list(finished.values()))  # (people, trials, parts)
    several = len(finished) > 1
    flat = everybody.reshape(-1, len(study.parts))
    same = np.asarray((flat == flat[0]).all(axis=0))
    truth, known = _truth(study)
    return AgreementResult(
        study=study,
        appraisers=appraisers,
        unfinished=unfinished,
        pairs=tuple(
            Pair(a, b, _share(finished[a][0] == finished[b][0]), cohen(finished[a][0], finished[b][0]))
            for a, b in combinations(finished, 2)
        ),
        all_agree=_share(same) if several else None,
        all_right=_share((same & (flat[0] == truth))[known]) if several and known.any() else None,
        kappa=fleiss(everybody[:, 0].T) if several else None,
        system=_against(system[None], truth, known) if known.any() else None,
        disputed=tuple(_disputed(study, flat)),
        rejected_only=rejected_only,
    )


def _called_defective(decision: Word, rejected_only: bool) -> bool:
    return decision in ("defect", "invalid") if rejected_only else decision != "ok"


def _table(study: AgreementStudy, given: Sequence[AgreementAnswer]) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """(trials, parts): whether the part was called defective."""
    places = {part.part: place for place, part in enumerate(study.parts)}
    table = np.zeros((study.trials, len(study.parts)), bool)
    for answer in given:
        table[answer.trial, places[answer.part]] = answer.answer is Answer.DEFECTIVE
    return table


def _truth(study: AgreementStudy) -> tuple[np.ndarray[Any, np.dtype[np.bool_]], np.ndarray[Any, np.dtype[np.bool_]]]:
    """(parts,), (parts,): whether it is defective, and whether that is known."""
    states = [part.defective for part in study.parts]
    return np.array([state is True for state in states]), np.array([state is not None for state in states])


def _appraiser(
    name: str,
    said: np.ndarray[Any, np.dtype[np.bool_]],
    study: AgreementStudy,
    system: np.ndarray[Any, np.dtype[np.bool_]],
) -> Appraiser:
    truth, known = _truth(study)
    return Appraiser(
        name=name,
        within=_share((said == said[0]).all(axis=0)),
        kappa=cohen(said[0], said[1]),
        reference=_against(said, truth, known) if known.any() else None,
        system=cohen(said[0], system),
    )


def _against(
    said: np.ndarray[Any, np.dtype[np.bool_]],
    truth: np.ndarray[Any, np.dtype[np.bool_]],
    known: np.ndarray[Any, np.dtype[np.bool_]],
) -> AgainstReference:
    """`said` (trials, parts)."""
    right = said == truth
    bad, fine = known & truth, known & ~truth
    return AgainstReference(
        effective=_share(right.all(axis=0)[known]),
        missed=Rate(int((~said[:, bad]).sum()), int(said[:, bad].size), int(bad.sum())),
        false_alarm=Rate(int(said[:, fine].sum()), int(said[:, fine].size), int(fine.sum())),
        kappa=cohen(said[0, known], truth[known]),
    )


def _share(flags: np.ndarray[Any, np.dtype[np.bool_]]) -> Share:
    return Share(int(flags.sum()), len(flags))


def _disputed(study: AgreementStudy, flat: np.ndarray[Any, np.dtype[np.bool_]]) -> list[Disputed]:
    """`flat`: (answers, parts)."""
    found = [
        Disputed(part, int((~flat[:, place]).sum()), int(flat[:, place].sum()))
        for place, part in enumerate(study.parts)
    ]
    return sorted((one for one in found if one.wrong), key=lambda one: (-one.wrong, one.part.part))
