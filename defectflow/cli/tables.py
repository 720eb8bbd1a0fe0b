"""An evaluation's figures, laid out for a terminal."""

from __future__ import annotations

from rich.table import Table

from defectflow.evaluation import Evaluation
from defectflow.metrics import Interval


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
        whole.add_row("overkill that the guarantee predicts", verdict, f"{low} to {high} parts")
    kinds = Table("kind", "pictures", "image AUROC", "AUPRO 30%", "escapes", title="Kinds of defect")
    for kind in evaluation.per_kind:
        escapes = f"{kind.escape.count} of {kind.escape.of}" if kind.escape else "-"
        aupro = _percent(kind.pixel.aupro_30 if kind.pixel else None)
        kinds.add_row(kind.kind, str(kind.pictures), _percent(kind.image_auroc), aupro, escapes)
    return [whole, kinds] if evaluation.per_kind else [whole]


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.2%}"


def _range(interval: Interval | None) -> str:
    return "-" if interval is None else f"{interval[0]:.2%} to {interval[1]:.2%}"
