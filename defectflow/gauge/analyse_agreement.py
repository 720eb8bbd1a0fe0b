"""Answers of a study -> its figures."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from defectflow.errors import StoreError
from defectflow.gauge.agreement import AgainstReference, AgreementResult, Appraiser, Disputed, Pair, Rate
from defectflow.gauge.kappa import cohen, fleiss
from defectflow.store import (
    AgreementAnswer,
    AgreementStudy,
    Answer,
    Store,
)
from defectflow.verdict import Share, Word

Flags = NDArray[np.bool_]


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


def _table(study: AgreementStudy, given: Sequence[AgreementAnswer]) -> Flags:
    """(trials, parts): whether the part was called defective."""
    places = {part.part: place for place, part in enumerate(study.parts)}
    table = np.zeros((study.trials, len(study.parts)), bool)
    for answer in given:
        table[answer.trial, places[answer.part]] = answer.answer is Answer.DEFECTIVE
    return table


def _truth(study: AgreementStudy) -> tuple[Flags, Flags]:
    """(parts,), (parts,): whether it is defective, and whether that is known."""
    states = [part.defective for part in study.parts]
    return np.array([state is True for state in states]), np.array([state is not None for state in states])


def _appraiser(
    name: str,
    said: Flags,
    study: AgreementStudy,
    system: Flags,
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
    said: Flags,
    truth: Flags,
    known: Flags,
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


def _share(flags: Flags) -> Share:
    return Share(int(flags.sum()), len(flags))


def _disputed(study: AgreementStudy, flat: Flags) -> list[Disputed]:
    """`flat`: (answers, parts)."""
    found = [
        Disputed(part, int((~flat[:, place]).sum()), int(flat[:, place].sum()))
        for place, part in enumerate(study.parts)
    ]
    return sorted((one for one in found if one.wrong), key=lambda one: (-one.wrong, one.part.part))
