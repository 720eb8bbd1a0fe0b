"""Words of the page Inspect about how large things are."""

from __future__ import annotations

from defectflow_ui.language import say

title = "Size of a pixel"
label = "Millimetres per pixel"
about = (
    "Of the camera's picture. Marked places are then told in millimetres, too. Kept with the model; verdicts stay as "
    "they are. Empty or 0: not known."
)
keep = "Keep with the model"
choose_first = "choose one product above; each has a scale of its own"


def title_of(product: str) -> str:
    return say("Size of a pixel: {product}", product=product)


def no_scale(given: float, most: float) -> str:
    return say(
        "{given:g} mm per pixel cannot be: give a number above 0 and up to {most:g}, or leave it empty",
        given=given,
        most=most,
    )


def kept(model: str, mm_per_px: float | None) -> str:
    if mm_per_px is None:
        return say("{model} has no scale any more.", model=model)
    return say("Kept with {model}: a pixel shows {mm_per_px:g} mm.", model=model, mm_per_px=mm_per_px)
