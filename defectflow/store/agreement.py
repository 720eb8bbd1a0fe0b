"""Studies of agreement: parts that several people judge blind, each more than once, in an order of their own.

Answers are apart from reviews: they stand for no part and calibrate nothing. Nobody is shown what others, the model, or
they themselves have answered before.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select

from defectflow.bundle import Card
from defectflow.errors import StoreError
from defectflow.store import chain, schema
from defectflow.store.audit import AuditDraw
from defectflow.store.database import Database
from defectflow.store.rows import Answer, stamped_now
from defectflow.verdict import Word

_studies, _answers = schema.agreement_studies, schema.agreement_answers
ALLOWED = (Answer.GOOD, Answer.DEFECTIVE)


@dataclass(frozen=True, slots=True)
class AgreementPart:
    """A part of a study."""

    part: str
    inspections: tuple[int, ...]
    """Of its pictures, in the order in which they are shown."""
    decision: Word
    """What the model made of it."""
    score: float | None
    defective: bool | None
    """The reference: what it is known to be; None where nobody knows."""


@dataclass(frozen=True, slots=True)
class AgreementStudy:
    """What is asked of people."""

    id: int
    at: datetime
    by: str
    name: str
    model: str
    bundle_id: str
    trials: int
    """How often each person judges each part."""
    parts: tuple[AgreementPart, ...]


@dataclass(frozen=True, slots=True)
class AgreementAnswer:
    """One judgement of one person."""

    id: int
    at: datetime
    by: str
    part: str
    answer: Answer
    study_id: int
    trial: int
    """From 0 on."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What somebody is asked next."""

    part: AgreementPart
    trial: int
    done: int
    """Answers that this person has given."""
    of: int


class Agreement:
    """Studies, and what people answered in them."""

    def __init__(self, database: Database, draw: AuditDraw) -> None:
        self._database = database
        self._draw = draw

    def begin(self, card: Card, name: str, parts: Sequence[AgreementPart], *, trials: int, by: str) -> AgreementStudy:
        """Ask for blind reviews of these parts. Raises StoreError for a name that is taken, or too little to ask."""
        if not name.strip():
            raise StoreError("a study needs a name, so that it can be found later; give one")
        if trials < 2:
            raise StoreError(f"with {trials} trial nobody can be compared with themselves; ask for 2 or more")
        if len(parts) < 2:
            raise StoreError(f"{len(parts)} parts are too few for a study; take 2 or more, 50 are usual")
        body = json.dumps({"trials": trials, "parts": [asdict(part) for part in parts]}, sort_keys=True)
        row: dict[str, Any] = {"at": stamped_now(), "by": by, "name": name.strip(), "model": card.name}
        row |= {"bundle_id": card.bundle_id, "body": body}
        with self._database.writing() as connection:
            taken = select(_studies.c.id).where(_studies.c.bundle_id == card.bundle_id, _studies.c.name == row["name"])
            if connection.execute(taken).first() is not None:
                raise StoreError(f"study {name!r} of {card.name} exists already; choose another name")
            (number,) = chain.append(connection, _studies, [row])
        return _read_study(row | {"id": number})

    def all(self, bundle_id: str) -> list[AgreementStudy]:
        """A model's studies, newest first."""
        wanted = select(_studies).where(_studies.c.bundle_id == bundle_id).order_by(_studies.c.id.desc())
        with self._database.reading() as connection:
            return [_read_study(row) for row in connection.execute(wanted).mappings()]

    def get(self, bundle_id: str, name: str | None = None) -> AgreementStudy:
        """A model's study by name; without, the newest. Raises StoreError."""
        studies = self.all(bundle_id)
        found = next((study for study in studies if name in (None, study.name)), None)
        if found is None:
            there = ", ".join(study.name for study in studies)
            asked = "no study of agreement was begun" if name is None else f"there is no study {name!r}"
            raise StoreError(
                f"{asked} for this model{f'; there are {there}' if there else ''}; begin one: defectflow study "
                "agreement BUNDLE --store STORE --begin NAME"
            )
        return found

    def answers(self, study: AgreementStudy, *, by: str | None = None) -> list[AgreementAnswer]:
        """In the order in which they were given."""
        with self._database.reading() as connection:
            return _of_study(connection, study.id, by)

    def next(self, study: AgreementStudy, by: str) -> Asked | None:
        """What this person judges next: all parts once, in an order of their own, then all again in another one."""
        given = {(answer.trial, answer.part) for answer in self.answers(study, by=by)}
        waiting = [
            (trial, self._draw.uniform("agreement", str(study.id), by, str(trial), part.part), part)
            for trial in range(study.trials)
            for part in study.parts
            if (trial, part.part) not in given
        ]
        if not waiting:
            return None
        trial, _, part = min(waiting, key=lambda one: one[:2])
        return Asked(part, trial, len(given), study.trials * len(study.parts))

    def answer(self, study: AgreementStudy, part: str, trial: int, answer: Answer, *, by: str) -> int:
        """Write one judgement; its number. Raises StoreError where it was given already, or is none of the study."""
        if answer not in ALLOWED:
            raise StoreError(f"a part of a study is good or defective, not {answer.value!r}")
        if part not in {one.part for one in study.parts} or trial not in range(study.trials):
            raise StoreError(f"part {part}, trial {trial + 1}: is not asked about in study {study.name!r}")
        with self._database.writing() as connection:
            given = {(one.trial, one.part) for one in _of_study(connection, study.id, by)}
            if (trial, part) in given:
                raise StoreError(f"part {part}: you have judged it in this round already")
            row = {"at": stamped_now(), "by": by, "part": part, "answer": answer.value}
            return chain.append(connection, _answers, [{**row, "study_id": study.id, "trial": trial}])[0]


def _of_study(connection: Connection, study_id: int, by: str | None) -> list[AgreementAnswer]:
    wanted = select(_answers).where(_answers.c.study_id == study_id).order_by(_answers.c.id)
    if by is not None:
        wanted = wanted.where(_answers.c.by == by)
    return [
        AgreementAnswer(**{**row, "at": datetime.fromisoformat(row["at"]), "answer": Answer(row["answer"])})
        for row in connection.execute(wanted).mappings()
    ]


def _read_study(row: Any) -> AgreementStudy:
    body = json.loads(row["body"])
    parts = tuple(AgreementPart(**{**part, "inspections": tuple(part["inspections"])}) for part in body["parts"])
    named = {name: row[name] for name in ("id", "by", "name", "model", "bundle_id")}
    return AgreementStudy(**named, at=datetime.fromisoformat(row["at"]), trials=body["trials"], parts=parts)
