"""A queue -> answers. Who said what about which part, when, and what they took back.

An answer is about a *part* as one model saw it. Two kinds of parts are asked about: the grey band (the model is unsure)
and the audit sample (drawn whatever the score). Anybody may answer about any other part as well, say to contradict a
verdict. Only the audit sample says anything about good parts at large.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from sqlalchemy import Connection, and_, func, or_, select

from defectflow.errors import AnsweredMeanwhile, StoreError
from defectflow.store import chain, schema
from defectflow.store.database import Database
from defectflow.store.rows import Answer, Inspection, PartInspection, Review, read, stamped_now
from defectflow.store.standing import standing

_seen, _said = schema.inspections, schema.reviews
LONGEST_COMMENT, LONGEST_KIND = 2000, 200


class Reviews:
    """What people said about what was inspected."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def answer(
        self,
        inspection_id: int,
        answer: Answer,
        *,
        by: str,
        kind: str | None = None,
        comment: str | None = None,
        over: int | None = None,
    ) -> int:
        """Say what the part on this inspection is; the review's number. A later answer takes its place.

        `over`: the review whose answer the person has seen standing, 0 for none; None: whatever stands. Raises
        AnsweredMeanwhile where another one stands; StoreError: no such inspection, or a kind of defect for a part that
        is not defective.
        """
        answer = Answer(answer)
        if kind and answer is not Answer.DEFECTIVE:
            raise StoreError(f"a kind of defect ({kind!r}) belongs to the answer defective, not {answer.value!r}")
        said = {"answer": answer.value, "kind": kind or None, "comment": comment or None}
        return self._write(inspection_id, by, over=over, **said)

    def comment(self, inspection_id: int, comment: str, *, by: str) -> int:
        """Say something about a part without answering; the review's number."""
        if not comment.strip():
            raise StoreError("the comment is empty; write something, or leave it")
        return self._write(inspection_id, by, comment=comment)

    def undo(self, review_id: int, *, by: str) -> int:
        """Take a review back; the one before it stands again. Nothing is erased. Raises StoreError."""
        with self._database.writing() as connection:
            row = connection.execute(select(_said).where(_said.c.id == review_id)).mappings().first()
            if row is None or row["undoes"] is not None:
                raise StoreError(f"review {review_id}: there is none to take back; look at the part's story")
            if connection.execute(select(_said.c.id).where(_said.c.undoes == review_id)).first():
                raise StoreError(f"review {review_id}: is taken back already")
            copied = {name: row[name] for name in ("inspection_id", "bundle_id", "part")}
            undo = {**copied, "at": stamped_now(), "by": by, "undoes": review_id}
            return chain.append(connection, _said, [undo])[0]

    def queue(self, bundle_id: str, *, limit: int = 50, skipped: bool = False) -> list[PartInspection]:
        """Parts of the grey band and of the audit sample that nobody has answered, the longest waiting first.

        With `skipped`, those that were skipped instead.
        """
        return waiting_parts(self.asked(bundle_id), skipped=skipped)[:limit]

    def asked(self, bundle_id: str) -> list[PartInspection]:
        """All parts of the grey band and of the audit sample, answered or not, the earliest first."""
        return [part for part in self.parts(bundle_id, asked=True) if part.audit or part.decision == "review"]

    def parts(self, bundle_id: str, *, asked: bool = False) -> list[PartInspection]:
        """Every part that a model has seen, with all its pictures and its answer, in order of first appearance.

        With `asked`, only parts with a picture in the grey band or in the audit sample.
        """
        wanted = select(_seen).where(_seen.c.bundle_id == bundle_id).order_by(_seen.c.id)
        if asked:
            named = select(_seen.c.part).where(or_(_seen.c.audit == 1, _seen.c.decision == "review"))
            wanted = wanted.where(_seen.c.part.in_(named.where(_seen.c.bundle_id == bundle_id)))
        said = select(_said).where(_said.c.bundle_id == bundle_id).order_by(_said.c.id)
        pictures: dict[str, list[Inspection]] = {}
        with self._database.reading() as connection:
            for row in connection.execute(wanted).mappings():
                pictures.setdefault(row["part"], []).append(read(Inspection, row))
            standing = standing_answers(read(Review, row) for row in connection.execute(said).mappings())
        return [
            PartInspection(bundle_id=bundle_id, part=part, pictures=tuple(items), review=standing.get(part))
            for part, items in pictures.items()
        ]

    def standing(self, bundle_id: str, part: str) -> Review | None:
        """The answer about a part that stands now."""
        return standing_answers(self.of_part(bundle_id, part)).get(part)

    def standing_on(self, inspection_ids: Collection[int]) -> dict[int, Review]:
        """The answers that stand about the parts on these inspections, by the inspection's number."""
        if not inspection_ids:
            return {}
        said = standing()
        same = and_(said.c.bundle_id == _seen.c.bundle_id, said.c.part == _seen.c.part)
        wanted = select(_seen.c.id.label("seen"), said).join(said, same)
        wanted = wanted.where(_seen.c.id.between(min(inspection_ids), max(inspection_ids)))
        with self._database.reading() as connection:
            rows = connection.execute(wanted).mappings()
            return {row["seen"]: read(Review, row) for row in rows if row["seen"] in inspection_ids}

    def of_part(self, bundle_id: str, part: str) -> list[Review]:
        """All that was said about a part, oldest first, taken back or not."""
        with self._database.reading() as connection:
            return _of_part(connection, bundle_id, part)

    def latest(self, *, bundle_id: str | None = None, by: str | None = None, limit: int = 20) -> list[Review]:
        """The last answers that still stand, newest first: what an undo may take back."""
        undone = select(_said.c.undoes).where(_said.c.undoes.is_not(None))
        wanted = select(_said).where(_said.c.answer.is_not(None), _said.c.id.not_in(undone))
        for column, value in ((_said.c.bundle_id, bundle_id), (_said.c.by, by)):
            wanted = wanted if value is None else wanted.where(column == value)
        with self._database.reading() as connection:
            rows = connection.execute(wanted.order_by(_said.c.id.desc()).limit(limit)).mappings()
            return [read(Review, row) for row in rows]

    def kinds(self, model: str | None = None) -> list[str]:
        """The kinds of defects named so far, the most frequent first. `model`: of parts that such models saw."""
        wanted = select(_said.c.kind).where(_said.c.kind.is_not(None)).group_by(_said.c.kind)
        if model is not None:
            wanted = wanted.join(_seen, _seen.c.id == _said.c.inspection_id).where(_seen.c.model == model)
        with self._database.reading() as connection:
            return list(connection.execute(wanted.order_by(func.count().desc(), _said.c.kind)).scalars())

    def _write(
        self,
        inspection_id: int,
        by: str,
        *,
        answer: str | None = None,
        kind: str | None = None,
        comment: str | None = None,
        over: int | None = None,
    ) -> int:
        for name, text, most in (("comment", comment, LONGEST_COMMENT), ("kind of defect", kind, LONGEST_KIND)):
            if text is not None and len(text) > most:
                raise StoreError(f"the {name} has {len(text)} characters; at most {most} are kept: shorten it")
        with self._database.writing() as connection:
            of = select(_seen.c.bundle_id, _seen.c.part).where(_seen.c.id == inspection_id)
            row = connection.execute(of).mappings().first()
            if row is None:
                raise StoreError(f"inspection {inspection_id}: there is none in {self._database}; it may be too old")
            if over is not None:
                standing = standing_answers(_of_part(connection, row["bundle_id"], row["part"])).get(row["part"])
                if over != (0 if standing is None else standing.id):
                    raise AnsweredMeanwhile(f"part {row['part']}: was answered meanwhile; look at what was said first")
            said = {"inspection_id": inspection_id, "answer": answer, "kind": kind, "comment": comment}
            return chain.append(connection, _said, [{**row, **said, "at": stamped_now(), "by": by}])[0]


def standing_answers(reviews: Iterable[Review]) -> dict[str, Review]:
    """Part -> the last answer about it that was not taken back. `reviews` in the order in which they were written."""
    reviews = list(reviews)
    undone = {review.undoes for review in reviews}
    return {review.part: review for review in reviews if review.answer is not None and review.id not in undone}


def waiting_parts(asked: Iterable[PartInspection], *, skipped: bool = False) -> list[PartInspection]:
    """Of the parts that people are asked about, those that nobody has answered; with `skipped`, the skipped ones."""
    wanted = Answer.SKIP if skipped else None
    return [part for part in asked if part.answer is wanted]


def _of_part(connection: Connection, bundle_id: str, part: str) -> list[Review]:
    wanted = select(_said).where(_said.c.bundle_id == bundle_id, _said.c.part == part).order_by(_said.c.id)
    return [read(Review, row) for row in connection.execute(wanted).mappings()]
