"""The results of an evaluation or a data check as tables for a terminal."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Column, Table

if TYPE_CHECKING:  # a table needs nothing of what made its figures: no torch, no scipy
    from defectflow.evaluation import Evaluation, Interval
    from defectflow.fitting import DataCheck

COLOURS = {"fine": "green", "note": "blue", "look": "yellow", "stop": "red"}
LISTED = 10
"""Suspicious pictures that a terminal shows."""


def tables(evaluation: Evaluation) -> list[Table]:
    """The figures for a terminal: the whole set, then one row per kind of defect."""
    whole = Table("figure", "value", "95% interval", title="Evaluation")
    image, pixel = evaluation.image, evaluation.pixel
    if image is not None:
        whole.add_row("image AUROC", _percent(image.auroc), _range(image.auroc_interval))
        whole.add_row("image AP", _percent(image.ap), _range(image.ap_interval))
        whole.add_row("image F1-max", _percent(image.f1_max), _range(image.f1_max_interval))
        whole.add_row("part AUROC", _percent(evaluation.part_auroc), _range(evaluation.part_auroc_interval))
    if pixel is not None:
        whole.add_row("pixel AUROC", _percent(pixel.auroc), "")
        whole.add_row("pixel AP", _percent(pixel.ap), "")
        whole.add_row("AUPRO to 30% / 5%", f"{_percent(pixel.aupro_30)} / {_percent(pixel.aupro_05)}", "")
    for name, share in (
        ("overkill (good parts rejected)", evaluation.overkill),
        ("good parts to review", evaluation.review),
        ("escape (defective parts called ok)", evaluation.escape),
    ):
        if share is not None:
            whole.add_row(name, f"{share.count} of {share.of}", _range(share.interval))
    if evaluation.overkill_expected is not None:
        low, high = evaluation.overkill_expected
        verdict = "as predicted" if evaluation.overkill_inside else "NOT as predicted"
        whole.add_row("overkill to be expected", f"{low} to {high} parts", verdict)
    kinds = Table("kind", "pictures", "image AUROC", "AUPRO 30%", "escapes", title="Kinds of defect")
    for kind in evaluation.per_kind:
        escapes = f"{kind.escape.count} of {kind.escape.of}" if kind.escape else "-"
        aupro = _percent(kind.pixel.aupro_30 if kind.pixel else None)
        kinds.add_row(kind.kind, str(kind.pictures), _percent(kind.image_auroc), aupro, escapes)
    return [whole, kinds] if evaluation.per_kind else [whole]


def data_tables(check: DataCheck) -> list[Table]:
    """Verdicts with their remedies, then the pictures to look at first."""
    verdicts = Table("", "", _folded("finding"), _folded("what to do"), title="Data", show_lines=True)
    for finding in check.findings():
        word = f"[{COLOURS[finding.gravity]}]{finding.gravity}[/]"
        verdicts.add_row(word, finding.topic, escape(finding.said), escape(finding.remedy))
    part_column = [_folded("part")] if check.parts_named else []
    suspects = Table("", _folded("picture"), *part_column, "stands out", "where", title="Most unusual first")
    for suspect in check.suspects[:LISTED]:
        where = "as a whole"
        if suspect.where is not None:
            where = f"{suspect.where[0]:.0%} from left, {suspect.where[1]:.0%} from top"
        stands_out = (
            f"[yellow]yes ({suspect.tail_units:.1f})[/]" if suspect.stands_out else f"no ({suspect.tail_units:.1f})"
        )
        part = [escape(suspect.part)] if check.parts_named else []
        suspects.add_row(str(suspect.rank), escape(_below(check.source, suspect.path)), *part, stands_out, where)
    return [verdicts, suspects] if check.suspects else [verdicts]


def _folded(header: str) -> Column:
    """Long names continue in the next line: cut off, they name nothing."""
    return Column(header, overflow="fold")


def _below(source: str, path: Path) -> str:
    """A picture's path below the folder, or the manifest's folder, that was looked at: short enough to be read."""
    folder = Path(source) if Path(source).is_dir() else Path(source).parent
    return str(path.relative_to(folder)) if path.is_relative_to(folder) else str(path)


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.2%}"


def _range(interval: Interval | None) -> str:
    return "-" if interval is None else f"{interval[0]:.2%} to {interval[1]:.2%}"
