"""Calibrations as versions: list, propose from reviews, apply, roll back; and the manifest of a re-fit."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.table import Table

from defectflow.cli.console import BundlePath, Json, command, err, out, print_json
from defectflow.cli.store_options import By, StoreUrl, me, utc

if TYPE_CHECKING:
    from defectflow.bundle import Card
    from defectflow.store import CalibrationVersion
    from defectflow.store.recalibration import Proposal

versions_app = typer.Typer(
    name="versions", help="A bundle's calibrations: made from reviews, applied, rolled back.", no_args_is_help=True
)
Reason = Annotated[str, typer.Option(help="Why, for the log.")]
BEFORE_SCORES = "Name the time before looking at scores; it is logged."
AuditSince = Annotated[
    datetime | None, typer.Option("--since", help=f"Audit parts first seen from then on, UTC. {BEFORE_SCORES}")
]
AuditUntil = Annotated[
    datetime | None, typer.Option("--until", help=f"Audit parts first seen before, UTC. {BEFORE_SCORES}")
]
SHOWN = 20
"""Verdicts that change, listed at most."""


@command(versions_app, "list", "models/bracket --store inspections.db")
def list_versions(bundle: BundlePath, store: StoreUrl, json: Json = None) -> None:
    """List a bundle's calibrations in the store. The one in use is marked."""
    from defectflow.bundle import open_bundle
    from defectflow.store import Store

    card = open_bundle(bundle).card
    with Store.open(store, create=False) as opened:
        versions = opened.versions.all(card.bundle_id)
    if print_json(json, [_version_json(version, card) for version in versions]):
        return
    table = Table("", "name", "made", "by", "parts", "rate", "threshold", "reason")
    for version in versions:
        calibration = version.calibration
        table.add_row(
            "*" if version.calibration_id == card.calibration_id else "",
            version.name,
            f"{version.at:%Y-%m-%d %H:%M}",
            version.by,
            str(version.parts),
            f"{calibration.rate:g}",
            f"{calibration.threshold.value:.4f}",
            version.reason,
        )
    out.print(table if versions else "none yet; score with --store, and the bundle's own calibration becomes the first")


@command(versions_app, "from-reviews", "models/bracket --store inspections.db --apply week-12 --reason 'false alarms'")
def from_reviews(
    bundle: BundlePath,
    store: StoreUrl,
    apply: Annotated[str | None, typer.Option(help="Name of the new version: apply it. Without: a preview.")] = None,
    reason: Reason = "",
    false_reject_rate: Annotated[float | None, typer.Option(min=0, max=1, help="By default unchanged.")] = None,
    guarantee: Annotated[
        Literal["expected", "confident"] | None, typer.Option(help="On average, or with 95% confidence.")
    ] = None,
    review_rate: Annotated[float | None, typer.Option(min=0, max=1, help="By default unchanged.")] = None,
    audit_only: Annotated[
        bool,
        typer.Option("--audit-only", help="Leave out the earlier calibration parts, because production has moved."),
    ] = False,
    since: AuditSince = None,
    until: AuditUntil = None,
    beforehand: Annotated[
        bool,
        typer.Option("--fixed-beforehand", help="The rates were fixed before anybody saw scores of these parts."),
    ] = False,
    by: By = None,
    json: Json = None,
) -> None:
    """Set new thresholds from audit parts that were answered good. Without --apply: show which verdicts would change.

    --since and --until bound when an audit part was first seen: what cannot be answered any more blocks no later part.
    """
    from defectflow.bundle import open_bundle
    from defectflow.store import Store
    from defectflow.store.recalibration import apply as apply_proposal
    from defectflow.store.recalibration import propose

    with Store.open(store, create=False) as opened:
        proposal = propose(
            opened,
            open_bundle(bundle),
            rate=false_reject_rate,
            guarantee=guarantee,
            review_rate=review_rate,
            keep_earlier=not audit_only,
            since=utc(since),
            until=utc(until),
            beforehand=beforehand,
        )
        version = None if apply is None else apply_proposal(opened, proposal, name=apply, reason=reason, by=me(by))
    if print_json(json, _proposal_json(proposal, version)):
        return
    _show_proposal(proposal)
    if version is None:
        _say("This is a preview: nothing was changed. To apply it, add --apply NAME --reason WHY.")
    else:
        _say(f"Applied as {version.name!r} ({version.calibration_id}).")


def _show_proposal(proposal: Proposal) -> None:
    audit = proposal.audit
    _say(
        f"Audit sample: {audit.parts} parts: {audit.good} good, {audit.defective} defective, {audit.not_this_part} "
        f"not this part, {audit.unanswered} unanswered, {audit.skipped} skipped, {audit.unreadable} unreadable, "
        f"{audit.uncounted} answered good but uncountable."
    )
    for part, why in audit.left_out:
        _say(f"  {part}: left out: {why}")
    was, is_now = proposal.bundle.card.require_calibration(), proposal.card.require_calibration()
    _say(f"{proposal.added} sampled parts join; threshold {was.threshold.value:.4f} -> {is_now.threshold.value:.4f}.")
    table = Table("part", "before", "after", "answered", title=f"{len(proposal.flips)} past verdicts would change")
    for flip in proposal.flips[:SHOWN]:
        table.add_row(flip.part.part, flip.before, flip.after, flip.part.answer or "-")
    out.print(table)
    for sentence in proposal.sentences():
        _say(sentence)


def _proposal_json(proposal: Proposal, applied: CalibrationVersion | None) -> dict[str, Any]:
    """All that is shown, with every part whose verdict changes."""
    was, is_now = proposal.bundle.card.require_calibration(), proposal.card.require_calibration()
    return {
        "audit": {"parts": proposal.audit.parts, **asdict(proposal.audit)},
        "added": proposal.added,
        "threshold": {"before": was.threshold.value, "after": is_now.threshold.value},
        "flips": [
            {"part": flip.part.part, "before": flip.before, "after": flip.after, "answer": flip.part.answer}
            for flip in proposal.flips
        ],
        "sentences": proposal.sentences(),
        "applied": None if applied is None else {"name": applied.name, "calibration_id": applied.calibration_id},
    }


def _version_json(version: CalibrationVersion, card: Card) -> dict[str, Any]:
    calibration = version.calibration
    return {
        "in_use": version.calibration_id == card.calibration_id,
        "name": version.name,
        "calibration_id": version.calibration_id,
        "parent": version.parent,
        "at": version.at.isoformat(),
        "by": version.by,
        "origin": version.origin,
        "reason": version.reason,
        "parts": version.parts,
        "rate": calibration.rate,
        "threshold": calibration.threshold.value,
    }


@command(versions_app, "apply", "models/bracket week-11 --store inspections.db --reason 'back to last week'")
def apply_version(
    bundle: BundlePath,
    name: Annotated[str, typer.Argument(help="The version's name, or its calibration's number.")],
    store: StoreUrl,
    reason: Reason,
    by: By = None,
) -> None:
    """Put a version's thresholds into the bundle. This is also the way back to an earlier one."""
    from defectflow.bundle import open_bundle
    from defectflow.store import Store

    opened = open_bundle(bundle)
    with Store.open(store, create=False) as log:
        version = log.versions.get(opened.card.bundle_id, name)
        saved = log.versions.apply(opened, version, by=me(by), reason=reason)
    _say(f"{bundle} has calibration {saved.card.calibration_id} ({version.name}) now.")


@command(versions_app, "activate", "models/bracket --store inspections.db --reason 'first model of the line'")
def activate_bundle(bundle: BundlePath, store: StoreUrl, reason: Reason, by: By = None) -> None:
    """Make this bundle, with the thresholds it has, the one that judges. A running service follows at its next request.

    Of a bundle of several products, all are at work from then on. The store is made where there is none yet.
    """
    from defectflow.bundle import bundles_of, open_bundle, open_family
    from defectflow.store import Store

    family = open_family(bundle)
    usable = [open_bundle(bundle)] if family is None else bundles_of(family)
    opened = next((one for one in usable if one.card.calibration is not None), usable[0])
    opened.card.require_calibration()  # before a store is made
    with Store.open(store) as log:
        log.versions.activate(opened, by=me(by), reason=reason)
    _say(f"{bundle} judges from now on (bundle {opened.card.bundle_id}, calibration {opened.card.calibration_id}).")


@command(versions_app, "refit-manifest", "models/bracket good/ --store inspections.db --out refit.csv")
def refit_manifest(
    bundle: BundlePath,
    good: Annotated[Path, typer.Argument(help="The pictures that the bundle was fitted on.")],
    store: StoreUrl,
    to: Annotated[Path, typer.Option("--out", help="The manifest (CSV), for fit.")],
) -> None:
    """Write a manifest for a new fit: the same split, with reviewed good parts added to training."""
    from defectflow.bundle import open_bundle
    from defectflow.data.refit_manifest import plan_refit
    from defectflow.store import Store

    with Store.open(store, create=False) as log:
        refit = plan_refit(open_bundle(bundle), good, log)
    refit.write(to)
    if refit.strangers:
        err.print(f"note: {refit.strangers} pictures of {good} were not in the fit and are left out", markup=False)
    if refit.missing:
        err.print(
            f"note: {len(refit.missing)} parts of the fit have no picture in {good} any more, the first is "
            f"{refit.missing[0]}; they are left out",
            markup=False,
        )
    if refit.unnamed:
        err.print(
            f"note: {refit.unnamed} parts answered good are left out: the names of their pictures do not name them by "
            f"the part regex {refit.part_regex!r}",
            markup=False,
        )
    _say(f"{len(refit.pictures)} pictures, with {refit.joined} parts answered good: {to}")
    if refit.part_regex is not None:
        _say(f"Fit with --part-regex {shlex.quote(refit.part_regex)}, as before.")


def _say(words: str) -> None:
    out.print(words, markup=False, highlight=False, soft_wrap=True)
