"""A fresh bundle -> what the index says of it: accuracy, escapes, cost, and a few pictures with their heat."""

from __future__ import annotations

import base64
import statistics

from defectflow.bundle import Bundle
from defectflow.common import Watch
from defectflow.data import Picture, look_through
from defectflow.errors import ImageError
from defectflow.evaluation import evaluate, find_test_pictures
from defectflow.image import jpeg, read_image, shrink
from defectflow.line import Inspector
from defectflow.scale.fit_index import Counted, FitRecord, Shown
from defectflow.scale.fit_plan import PlannedFit
from defectflow.verdict import Share, Verdict, overlay

SHOWN = 4
LOOKED_AT = 40
"""Test pictures among which the shown ones are found, at most: evenly spread over all."""
SIDE_PX = 200


def record_of(fit: PlannedFit, bundle: Bundle, seconds: float, watch: Watch) -> FitRecord:
    """Evaluates on the plan's test pictures, where it has any."""
    inspector = Inspector(bundle)
    evaluation, pictures = None, list[Picture]()
    if fit.test is not None:
        found = look_through(fit.test, usual_part_regex=fit.part_regex)
        pictures = find_test_pictures(found, fit.test)
        evaluation = evaluate(inspector, pictures, watch=watch)
    shown, milliseconds = _shown(inspector, pictures or _good(fit))
    image = None if evaluation is None else evaluation.image
    return FitRecord(
        name=fit.name,
        key=fit.key,
        product=fit.product,
        recipe=fit.variant,
        seed=fit.seed,
        bundle_id=bundle.card.bundle_id,
        guarantee=tuple(bundle.card.guarantee()),
        warnings=len(bundle.card.warnings),
        auroc=None if image is None else image.auroc,
        auroc_interval=None if image is None else image.auroc_interval,
        escape=None if evaluation is None else _counted(evaluation.escape),
        overkill=None if evaluation is None else _counted(evaluation.overkill),
        fit_seconds=seconds,
        milliseconds=milliseconds,
        megabytes=bundle.model.stat().st_size / 1e6,
        pictures=shown,
    )


def _good(fit: PlannedFit) -> list[Picture]:
    """Where nothing is to be tested on, good pictures show what the model sees in them."""
    return [one for one in look_through(fit.good, label="good").pictures if one.label == "good"]


def _shown(inspector: Inspector, pictures: list[Picture]) -> tuple[tuple[Shown, ...], float | None]:
    """The pictures with the highest scores, with heat where there are thresholds; and the median time of all."""
    some = pictures[:: max(1, -(-len(pictures) // LOOKED_AT))]
    seen = [
        (picture, item)
        for picture, item in zip(some, inspector.look([picture.path for picture in some]), strict=True)
        if not isinstance(item, ImageError)
    ]
    seen.sort(key=lambda pair: pair[1].score, reverse=True)
    shown = []
    for picture, item in seen[:SHOWN]:
        pixels = shrink(read_image(picture.path, full_scale=inspector.card.image.full_scale), SIDE_PX)
        drawn = overlay(pixels, item) if isinstance(item, Verdict) else pixels
        said = item.decision.word if isinstance(item, Verdict) else "no thresholds"
        known = "unlabelled" if picture.label is None else picture.kind or picture.label
        caption = f"{picture.name}: {said}, score {item.score:.2f} ({known})"
        shown.append(Shown(caption=caption, jpeg=base64.b64encode(jpeg(drawn)).decode()))
    times = [item.milliseconds for _, item in seen]
    return tuple(shown), statistics.median(times) if times else None


def _counted(share: Share | None) -> Counted | None:
    return None if share is None else Counted(count=share.count, of=share.of, interval=share.interval)
