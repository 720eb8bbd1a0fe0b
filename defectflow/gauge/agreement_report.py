"""A study of agreement -> its files: the page that an auditor asks for, the answers as CSV, all figures as JSON."""

from __future__ import annotations

import base64
import json
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from defectflow.bundle import Card
from defectflow.common import write_whole
from defectflow.errors import ImageError
from defectflow.gauge.agreement import LIMITS, AgreementResult
from defectflow.gauge.render import write_page
from defectflow.image import jpeg, read_image, shrink
from defectflow.line import as_csv
from defectflow.store import AgreementPart, Store

PAGE, ANSWERS, ALL = "agreement.html", "answers.csv", "agreement.json"
SHOWN = 12
"""Parts that are shown with their pictures: those that people disagree about most."""
PICTURE_PX = 320


def write_agreement(out: Path, store: Store, card: Card, result: AgreementResult) -> Path:
    """Write all three files into a folder; the page. Raises OSError where they cannot be written."""
    out.mkdir(parents=True, exist_ok=True)
    answers = [
        {"at": one.at.isoformat(), "by": one.by, "part": one.part, "trial": one.trial + 1, "answer": one.answer.value}
        for one in store.agreement.answers(result.study)
    ]
    write_whole(out / ANSWERS, as_csv(answers))
    write_whole(out / ALL, json.dumps(result.to_json(), indent=2, ensure_ascii=False, allow_nan=False) + "\n")
    return write_page(
        out / PAGE,
        "agreement.html.j2",
        result=result,
        study=result.study,
        now=datetime.now(UTC),
        limits=LIMITS,
        shown=[(one, _picture(store, card, one.part)) for one in result.disputed[:SHOWN]],
    )


def _picture(store: Store, card: Card, part: AgreementPart) -> str | None:
    """The part's first picture as a data URI; None where it is gone."""
    inspection = store.history.get(part.inspections[0])
    file = None if inspection is None else store.picture(inspection)
    if file is not None:
        with suppress(ImageError):
            pixels = shrink(read_image(file, full_scale=card.image.full_scale), PICTURE_PX)
            return "data:image/jpeg;base64," + base64.b64encode(jpeg(pixels)).decode()
    return None
