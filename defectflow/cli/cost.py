"""`defectflow cost`: the cheapest thresholds, from what mistakes cost. Needs no torch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from defectflow.cli.console import (
    BundlePath,
    Json,
    PartRegex,
    err,
    out,
    print_json,
    progress_bars,
    show_failures,
    show_found,
)

if TYPE_CHECKING:  # the runtime imports OpenCV and ONNX Runtime, for which --help should not wait
    from defectflow.line import Weighed
    from defectflow.verdict import Point, Share

EscapeCost = Annotated[float, typer.Option("--escape", min=0, help="What one defective part costs that is called ok.")]
RejectCost = Annotated[float, typer.Option("--false-reject", min=0, help="What one good part costs that is rejected.")]
ReviewCost = Annotated[
    float | None,
    typer.Option("--review", min=0, help="What one look at a part costs; without it there is no grey band."),
]
DefectiveShare = Annotated[
    float, typer.Option("--defective-share", min=0, max=1, help="Share of all inspected parts that are defective.")
]


def cost(
    bundle: BundlePath,
    escape: EscapeCost,
    defective_share: DefectiveShare,
    false_reject: RejectCost = 1.0,
    review: ReviewCost = None,
    data: Annotated[
        Path | None, typer.Option(help="Labelled pictures, as for evaluate, none of them used in the fit.")
    ] = None,
    store: Annotated[
        str | None, typer.Option(help="Instead of --data: the parts that people have answered about in this store.")
    ] = None,
    apply: Annotated[
        bool, typer.Option("--apply", help="Put the cheapest thresholds into the bundle. They promise nothing.")
    ] = False,
    part_regex: PartRegex = None,
    json: Json = None,
) -> None:
    """Find the cheapest threshold from what an escape, a false reject and a review cost.

    Costs are in any one currency. Thresholds that are chosen so are an estimate, and no promise about good parts.
    """
    from defectflow.bundle import SIGNATURE, open_bundle, save_bundle
    from defectflow.data import look_through, test_pictures
    from defectflow.gauge import PartScores
    from defectflow.line import Inspector, measure_known, weigh
    from defectflow.store import Store
    from defectflow.verdict import Costs

    if (data is None) == (store is None):
        raise typer.BadParameter("give either --data with labelled pictures, or a --store with answered parts")
    costs = Costs(false_reject, escape, defective_share, review)
    opened = open_bundle(bundle)
    if data is not None:
        found = look_through(data, part_regex=part_regex, usual_part_regex=opened.card.part_regex)
        found = found.showing(opened.product, data)
        show_found(found)
        with progress_bars() as watch:
            tradeoff, failed = measure_known(Inspector(opened), test_pictures(found.pictures), watch=watch)
        show_failures(failed)
    else:
        with Store.open(str(store), create=False) as kept:
            tradeoff = PartScores.of(opened, kept).tradeoff
    weighed = weigh(tradeoff, costs, opened.card)
    if not print_json(json, weighed.to_json()):
        _show(weighed)
    if apply:
        point = weighed.cheapest.point
        saved = save_bundle(opened.path, opened.card.estimated(point.threshold, point.review))
        err.print(f"Threshold {point.threshold:.4f}, written to {bundle}: an estimate", markup=False, highlight=False)
        if (saved.path / SIGNATURE).exists():
            err.print(
                "note: the signature was of the earlier calibration; sign again: defectflow sign BUNDLE --key KEY"
            )


def _show(weighed: Weighed) -> None:
    table = Table("", "cheapest", "now", title="What a part costs")
    points = [weighed.cheapest.point, weighed.now]

    def each(name: str, tell: Callable[[Point], str]) -> None:
        table.add_row(name, *("-" if point is None else tell(point) for point in points))

    each("threshold", lambda point: f"{point.threshold:.4f}")
    each("grey band from", _band)
    each("good parts rejected", lambda point: _share(point.overkill))
    each("defective parts called ok", lambda point: _share(point.escape))
    if weighed.costs.review is not None:
        each("good parts to review", lambda point: _share(point.reviewed_good))
        each("defective parts to review", lambda point: _share(point.reviewed_defective))
    each("cost per inspected part", lambda point: f"{weighed.costs.per_part(point):.4g}")
    out.print(table)
    for sentence in weighed.sentences():
        out.print(sentence, markup=False, highlight=False)


def _band(point: Point) -> str:
    return f"{point.review:.4f}" if point.review < point.threshold else "none"


def _share(share: Share) -> str:
    low, high = share.interval
    return f"{share.count} of {share.of} ({low:.1%} to {high:.1%})" if share.of else "none seen"
