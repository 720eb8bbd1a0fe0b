"""Reviews -> new thresholds, previewed before they are applied: how false alarms improve the model.

Reviews are a biased sample: people are asked about what the model finds unusual. So only parts of the *audit sample*,
drawn whatever their score, join the calibration, and only those answered good. Where too many of them lack an answer,
the missing ones may be the unusual ones, and recalibration refuses. Answers about all other parts, whether the grey
band was asked about or somebody contradicted a verdict, may train a re-fit (`training_parts`), never calibrate; and no
part does both.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from defectflow.bundle import Bundle, CalibrationPart, Card, fitted_digests, fitted_parts
from defectflow.errors import CalibrationError, ImageError
from defectflow.image import pixel_digest, read_raw
from defectflow.store.rows import Answer, PartInspection
from defectflow.store.versions import CalibrationVersion, unchanged
from defectflow.verdict import Calibration, Guarantee, Word, decide, worst_score, worst_word

if TYPE_CHECKING:
    from defectflow.store.store import Store

ORIGIN = "audit"
BY_PICTURE = (
    "counted by picture, and the calibration by part: nothing told which part the picture shows (a part regex with "
    "`score`, or the expression on the page Inspect, does); what was inspected before stays as it is"
)
BY_PART = "counted by part, and the calibration by picture"


@dataclass(frozen=True, slots=True)
class AuditTally:
    """What became of the audit sample."""

    good: int
    defective: int
    not_this_part: int
    skipped: int
    unanswered: int
    unreadable: int
    """Answered good, but a picture of them could not be read (`PartInspection.unread`): they count as unanswered."""
    uncounted: int
    """Answered good, but nobody knows whether they are new, or one part; they count as unanswered, too."""
    left_out: tuple[tuple[str, str], ...]
    """(part, reason): answered good, but no new evidence."""

    @property
    def parts(self) -> int:
        return self.good + self.defective + self.not_this_part + self.missing

    @property
    def missing(self) -> int:
        return self.skipped + self.unanswered + self.unreadable + self.uncounted

    @property
    def missing_share(self) -> float:
        return self.missing / self.parts if self.parts else 0.0

    def reasons(self) -> list[tuple[str, int]]:
        """Why answers of "good" bring no new evidence, and of how many parts; the most frequent first."""
        return Counter(why for _, why in self.left_out).most_common()

    def wanting(self, limit: float) -> int:
        """How many more answers it takes until no larger share is missing than `limit`; 0: it is a fair sample."""
        return max(0, self.missing - math.floor(limit * self.parts + 1e-9))


@dataclass(frozen=True, slots=True)
class Flip:
    """A past part whose verdict the new thresholds change."""

    part: PartInspection
    before: Word
    after: Word

    @property
    def lets_pass(self) -> bool:
        """Whether a part that was answered defective would be called ok, and is not now."""
        return self.part.answer is Answer.DEFECTIVE and self.after == "ok"


@dataclass(frozen=True, slots=True)
class Proposal:
    """New thresholds that hold nowhere yet. To discard it, forget it."""

    bundle: Bundle
    card: Card
    """As the bundle's would be."""
    audit: AuditTally
    added: int
    """Audit parts that join the calibration."""
    flips: tuple[Flip, ...]
    since: datetime | None = None
    until: datetime | None = None
    """When the audit parts that were looked at were first seen; None: no bound."""

    @property
    def window(self) -> str:
        """Those bounds in words; empty if there are none."""
        bounds = (("from", self.since), ("until", self.until))
        said = [f"{word} {moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC" for word, moment in bounds if moment]
        return f"sampled parts first seen {' '.join(said)}" if said else ""

    @property
    def rate_if_missing_are_unusual(self) -> float:
        """The promised average rate, were every audit part without an answer a good part above all others."""
        threshold = self.card.require_calibration().threshold
        above = len(self.card.calibration_parts) + 1 - threshold.rank + self.audit.missing
        return above / (len(self.card.calibration_parts) + 1 + self.audit.missing)

    def sentences(self) -> list[str]:
        """What the new thresholds promise, and what they rest on."""
        said = self.card.guarantee()
        if lost := sum(flip.lets_pass for flip in self.flips):
            are = "1 part that was" if lost == 1 else f"{lost} parts that were"
            said.insert(0, f"{are} answered defective would be called ok.")
        if self.audit.missing:
            said.append(
                f"{self.audit.missing} of {self.audit.parts} sampled parts have no answer; were all of them good and "
                f"more unusual than any other, the average would be at most {self.rate_if_missing_are_unusual:.2%}."
            )
        return said


def propose(
    store: Store,
    bundle: Bundle,
    *,
    rate: float | None = None,
    guarantee: Guarantee | None = None,
    review_rate: float | None = None,
    keep_earlier: bool = True,
    since: datetime | None = None,
    until: datetime | None = None,
    beforehand: bool = False,
) -> Proposal:
    """Thresholds with the audit parts answered good, and the past parts that would be judged differently.

    What is not given stays as the bundle has it (where a person chose its thresholds, as it was once wanted); a review
    rate below the rate is raised to it. Without `keep_earlier`, the audit parts alone calibrate: for when production
    has moved and the earlier parts are no longer like it. `since` and `until` bound when an audit part was first seen:
    what can no longer be answered, say because its picture is gone, blocks no later part. (Name the time before looking
    at scores: whoever tries many and takes the one that pleases has no promise.) Rates other than the recipe's and
    those promised now make an estimate, unless they were fixed `beforehand`: before anybody saw scores of these parts.
    Nothing is changed anywhere. No picture is judged again: stored scores suffice.

    Raises NotCalibrated, and CalibrationError where the audit sample lacks answers, adds nothing, or is too small.
    """
    card, now = bundle.card, bundle.card.require_calibration()
    parts = store.reviews.parts(card.bundle_id)
    drawn = [
        part
        for part in parts
        if part.audit
        and (since is None or part.pictures[0].at >= since)
        and (until is None or part.pictures[0].at < until)
    ]
    audit, added = tally_audit(drawn, bundle)
    limit = store.settings.review.unanswered
    if audit.wanting(limit):
        raise CalibrationError(
            f"{audit.missing} of {audit.parts} sampled parts have no answer ({audit.unanswered} waiting, "
            f"{audit.skipped} skipped, {audit.unreadable} unreadable, {audit.uncounted} answered good but "
            f"uncountable): {audit.missing_share:.1%}; at most {limit:.0%} is allowed. The missing ones may be the "
            "unusual ones: answer them first, inspect unreadable pictures again under the same name, or count only "
            "parts first seen since a later day."
        )
    if not added:
        why = "".join(f"\n{count}: {reason}" for reason, count in audit.reasons())
        raise CalibrationError(
            f"no sampled part adds evidence: of {audit.parts} that were randomly sampled, {len(audit.left_out)} are "
            f"answered good, and none of these can be counted; inspect and review more parts{why}"
        )
    rows = tuple(_row(part) for part in added)
    usual_rate, usual_guarantee, usual_review_rate = card.rule
    rate = usual_rate if rate is None else rate
    review_rate = max(usual_review_rate, rate) if review_rate is None else review_rate
    rule = rate, guarantee or usual_guarantee, review_rate
    proposed = card.calibrated(
        (*card.calibration_parts, *rows) if keep_earlier else rows,
        *rule,
        beforehand=beforehand,
    )
    digests = [str(picture.pixel_sha256) for part in added for picture in part.judged]
    proposed = proposed.model_copy(update={"added_digests": tuple(dict.fromkeys([*card.added_digests, *digests]))})
    if not keep_earlier:  # the store does not hold how the audit parts were pictured
        proposed = proposed.model_copy(update={"calibration_forms": ()})
    changed = flips(parts, now, proposed.require_calibration())
    return Proposal(bundle, proposed, audit, len(added), changed, since, until)


def apply(store: Store, proposal: Proposal, *, name: str, reason: str, by: str) -> CalibrationVersion:
    """Make a proposal a named version and put it to work in its bundle. The log says which time it looked at, too.

    Raises StoreError if the name is taken, or the bundle was calibrated since the proposal was made.
    """
    bundle = unchanged(proposal.bundle)
    before = bundle.card.calibration_id
    if reason.strip() and proposal.window:  # it shapes the thresholds, as the parts do
        reason = f"{reason} ({proposal.window})".strip()
    version = store.versions.add(proposal.card, name=name, reason=reason, by=by, origin=ORIGIN, parent=before)
    store.versions.apply(bundle, version, by=by, reason=reason)
    return version


def flips(parts: Sequence[PartInspection], before: Calibration, after: Calibration) -> tuple[Flip, ...]:
    """The parts that two calibrations of one model judge differently, from stored scores."""
    found = (Flip(part, rejudged(part, before), rejudged(part, after)) for part in parts)
    changed = [flip for flip in found if flip.before != flip.after]
    return tuple(sorted(changed, key=lambda flip: not flip.lets_pass))


def rejudged(part: PartInspection, calibration: Calibration) -> Word:
    """What the part's worst picture leads to under these thresholds."""
    cuts = (calibration.threshold.value, calibration.review.value)
    words = [
        decide(math.nan if picture.score is None else picture.score, *cuts, gated=picture.gated).word
        for picture in part.judged
    ]
    return worst_word([*words, "error"] if part.unread or not words else words)


def training_parts(store: Store, bundle: Bundle) -> list[tuple[PartInspection, tuple[tuple[Path, str], ...]]]:
    """Parts that may join the training of a re-fit, each with its pictures and what they are called.

    They were answered good, and are not of the audit sample. Why somebody answered does not matter: of the grey band,
    or to contradict a verdict. Parts that calibrate or tune the bundle stay on their side, under whatever name their
    pictures came back. Parts whose pictures are gone are left out.
    """
    sides = fitted_parts(bundle) | {row.part: "calibration" for row in bundle.card.calibration_parts}
    kept_apart = {digest for digest, side in fitted_digests(bundle).items() if side != "train"}
    kept_apart.update(bundle.card.added_digests)
    found = []
    for part in store.reviews.parts(bundle.card.bundle_id):
        if part.audit or part.answer is not Answer.GOOD or sides.get(part.part, "train") != "train":
            continue
        names = dict[Path, str]()
        for picture in part.judged:
            if (path := store.picture(picture)) is not None:
                names.setdefault(path, picture.file)
        if not names or len(names) < len({picture.sha256 for picture in part.judged}):
            continue
        with suppress(ImageError):  # unreadable by now: as if it were gone
            if kept_apart.isdisjoint(pixel_digest(read_raw(path)) for path in names):
                found.append((part, tuple(names.items())))
    return found


def tally_audit(drawn: Sequence[PartInspection], bundle: Bundle) -> tuple[AuditTally, list[PartInspection]]:
    """An audit sample counted, and its parts that bring new evidence about good ones: what calibrates, and no other."""
    used_parts = fitted_parts(bundle) | {row.part: "calibration" for row in bundle.card.calibration_parts}
    used = set(fitted_digests(bundle)) | set(bundle.card.added_digests)
    counts = dict.fromkeys((*Answer, None), 0)
    unreadable = uncounted = 0
    left_out, added = list[tuple[str, str]](), list[PartInspection]()
    for part in drawn:
        counts[part.answer] += 1
        if part.answer is not Answer.GOOD:
            continue
        digests = {picture.pixel_sha256 for picture in part.judged}
        if part.part in used_parts:
            left_out.append((part.part, f"used already ({used_parts[part.part]})"))
        elif digests & used:
            left_out.append((part.part, "this picture was used already, in the fit or in a calibration"))
        elif part.unread:
            unreadable += 1
            left_out.append((part.part, f"{part.unread[0]} could not be read, so its score is unknown"))
        elif None in digests:
            uncounted += 1  # whether a picture stayed available may depend on its verdict
            left_out.append((part.part, "its picture was not available, so it is unknown whether the fit has used it"))
        elif bundle.card.parts_known != part.pictures[0].part_known and (
            bundle.card.parts_known or len({picture.sha256 for picture in part.judged}) > 1
        ):
            uncounted += int(part.pictures[0].part_known)  # several pictures: mostly rejected parts are looked at again
            left_out.append((part.part, BY_PICTURE if bundle.card.parts_known else BY_PART))
        else:
            used |= {str(digest) for digest in digests}
            added.append(part)
    tally = AuditTally(
        good=counts[Answer.GOOD] - unreadable - uncounted,
        defective=counts[Answer.DEFECTIVE],
        not_this_part=counts[Answer.NOT_THIS_PART],
        skipped=counts[Answer.SKIP],
        unanswered=counts[None],
        unreadable=unreadable,
        uncounted=uncounted,
        left_out=tuple(left_out),
    )
    return tally, added


def _row(part: PartInspection) -> CalibrationPart:
    score = part.score
    return CalibrationPart(
        part=part.part,
        score=None if score is None or not math.isfinite(score) else score,
        peak=worst_score(picture.peak or 0.0 for picture in part.judged),
        pictures=len({picture.sha256 for picture in part.judged}),
    )
