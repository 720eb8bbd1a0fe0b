"""A study of detectability -> its files: a page with pictures and tables, curves and trials as CSV, all as JSON."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from defectflow.common import write_whole
from defectflow.gauge.detectability import Detectability, Group, Trial
from defectflow.gauge.draw_curves import draw_curves
from defectflow.gauge.flaws import Pixels
from defectflow.gauge.render import write_page
from defectflow.image import jpeg
from defectflow.line import as_csv

PAGE, CURVES, TRIALS, ALL = "detectability.html", "curves.csv", "trials.csv", "detectability.json"


def write_detectability(out: Path, study: Detectability) -> Path:
    """Write all four files into a folder; the page. Raises OSError where they cannot be written."""
    out.mkdir(parents=True, exist_ok=True)
    write_whole(out / CURVES, as_csv([_curve_row(group, study.mm_per_px) for group in study.groups]))
    write_whole(out / TRIALS, as_csv([_trial_row(trial) for trial in (*study.trials, *study.real)]))
    write_whole(out / ALL, json.dumps(detectability_json(study), indent=2, ensure_ascii=False, allow_nan=False) + "\n")
    contrasts = [trial.contrast for trial in study.real if math.isfinite(trial.contrast)]
    real = study.groups_by("real")
    return write_page(
        out / PAGE,
        "detectability.html.j2",
        study=study,
        now=datetime.now(UTC),
        charts=[draw_curves(kind, groups) for kind, groups in _by_name(study)],
        real_chart=draw_curves("real defects", [*real, *_strongest(study)], whole=study.groups) if real else None,
        contrast=float(np.median(contrasts)) if contrasts else None,
        examples=[(kind, contrast, _data_uri(pixels)) for kind, contrast, pixels in study.examples],
    )


def _by_name(study: Detectability) -> Iterator[tuple[str, list[Group]]]:
    groups = study.groups_by("kind")
    for name in dict.fromkeys(group.name for group in groups):
        yield name, [group for group in groups if group.name == name]


def _strongest(study: Detectability) -> list[Group]:
    """Of each kind, the flaws of the middle contrast: what real ones are compared with."""
    contrasts = sorted(study.plan.contrasts)
    middle = contrasts[len(contrasts) // 2]
    return [group for group in study.groups_by("kind") if group.contrast == middle]


def detectability_json(study: Detectability) -> dict[str, Any]:
    """Plain values; the keys are part of the product's interface."""
    return {
        "model": study.model,
        "bundle_id": study.bundle_id,
        "calibration_id": study.calibration_id,
        "mm_per_px": study.mm_per_px,
        "plan": {
            "sizes_px": list(study.plan.sizes_px),
            "contrasts": list(study.plan.contrasts),
            "flaws": study.plan.flaws,
            "kinds": list(study.plan.kinds),
            "rejected_only": study.plan.rejected_only,
            "seed": study.plan.seed,
        },
        "good_not_ok": study.clean.to_json(),
        "parts": study.parts,
        "used_in_fit": study.fitted,
        "not_drawn": study.not_drawn,
        "unreadable": [{"file": file, "reason": reason} for file, reason in study.unreadable],
        "curves": [_curve_row(group, study.mm_per_px) for group in study.groups],
        "notes": list(study.sentences()),
    }


def _curve_row(group: Group, mm_per_px: float | None) -> dict[str, Any]:
    sizes = {"a50": group.a50_px, "a90": group.a90_px, "a90_95": group.a90_95_px}
    told = {name: ("", None) if value is None else group.within(value) for name, value in sizes.items()}
    row: dict[str, Any] = {
        "by": group.by,
        "name": group.name,
        "contrast": group.contrast,
        "flaws": len(group.sizes_px),
        "found": int(group.found.sum()),
        **{f"{name}_px": value for name, (_, value) in told.items()},
        **{f"{name}_mm": _scaled(value, mm_per_px) for name, (_, value) in told.items()},
        **{f"{name}_side": side.strip() for name, (side, _) in told.items()},
        "largest_px": float(group.sizes_px.max()) if len(group.sizes_px) else None,
        "intercept": None if group.curve is None else group.curve.intercept,
        "slope": None if group.curve is None else group.curve.slope,
        "why_no_curve": group.why_none or None,
    }
    return row


def _scaled(px: float | None, mm_per_px: float | None) -> float | None:
    return None if px is None or mm_per_px is None else px * mm_per_px


def _trial_row(trial: Trial) -> dict[str, Any]:
    return {
        "picture": trial.picture,
        "part": trial.part,
        "kind": trial.kind,
        "contrast": None if math.isnan(trial.contrast) else round(trial.contrast, 2),
        "size_px": round(trial.size_px, 3),
        "x_px": round(trial.x_px, 1),
        "y_px": round(trial.y_px, 1),
        "region": trial.region,
        "decision": trial.decision,
        "score": trial.score,
        "found": int(trial.found),
    }


def _data_uri(pixels: Pixels) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(jpeg(pixels, quality=92)).decode()
