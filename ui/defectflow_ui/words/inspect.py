"""Words of the page Inspect."""

from __future__ import annotations

from defectflow.verdict import Reason
from defectflow_ui.language import count, say
from defectflow_ui.words.common import counted
from defectflow_ui.words.heard import heard
from defectflow_ui.words.verdicts import VERDICTS

tab = "Inspect"
drop = "Drop pictures, folders or a ZIP here"
no_picture_in_it = "No picture lies in what was dropped: PNG, JPEG, BMP, TIFF and WebP are looked for."
choose = "Choose"
camera = "Camera"
shoot = "Take a picture (space)"
formats = "PNG, JPEG, BMP, TIFF or WebP."
keeps_copies = "Verdicts and copies of the pictures are kept."
keeps_verdicts = "Verdicts are kept in the history; the pictures are removed when this tab is closed."
keeps_nothing = (
    "On trial: nothing of it is kept, nor counted in history, random sample or drift watch. For a new model, until it "
    "goes into production."
)
trial = "Trial: judge, but keep nothing"
trial_mark = "trial"
others_at_work = (
    "Another model, or other thresholds, are at work by now: these are the verdicts of before, and the next drop "
    "begins anew."
)
in_production = "The model is in production."
product = "Product"
product_info = (
    "Which of the model's products the pictures show; each has limits and a promise of its own. Name it where you "
    "know it: products that look alike are confused otherwise."
)
nearest_product = "(auto) of each picture the nearest one"
not_kept = "Judged on trial, so it is not in the history, and nobody can answer about it."
may_not = "You may look, but not inspect"
may_not_do = "Inspecting needs the role operator; ask whoever manages users at your site."
no_bundle = "Nothing to inspect with yet"
to_train = "Train a model"
to_models = "Choose a model"
to_calibrate = "Calibrate a model"
camera_when = "Take a picture"
camera_triggers = {
    "hand": "when the button is pressed",
    "1": "every second",
    "3": "every 3 seconds",
    "10": "every 10 seconds",
    "motion": "when something has moved, and lies still again",
}
camera_results = {"ok": "OK", "review": "LOOK", "defect": "NG", "invalid": "NG", "error": "?"}
camera_problems = {
    "insecure": "The browser gives no camera to a page without encryption. Open the station with https:// (it has to "
    "be started with --tls-cert and --tls-key), or in a browser on its own machine; or choose pictures instead.",
    "NotAllowedError": "The browser may not use the camera. Allow it for this page (the camera or the lock beside the "
    "address), and press Camera again.",
    "NotFoundError": "The browser finds no camera. Connect one, and press Camera again.",
    "NotReadableError": "The camera is used by another program. Close that, and press Camera again.",
    "other": "The camera cannot be used",
}
"""By the name of the browser's error."""
nothing_yet = "No pictures yet"
nothing_yet_do = "Drop some above: each gets a verdict, the most unusual first."
no_longer = "There are no pictures in this tab (any more); drop them again."
nothing_shown = "No picture here"
nothing_shown_do = "None of the pictures has this verdict. Press All to see the others."
nothing_chosen = "Choose a picture"
nothing_chosen_do = "Click one on the left, or press the arrow keys."
all = "All"
flips = "Would change"
answered = {
    "good": "said good",
    "defective": "said defective",
    "not this part": "said not this part",
    "skip": "skipped",
}
orders = {"worst": "worst first", "best": "best first", "arrival": "as dropped", "name": "name"}
stop = "Stop"
clear = "Clear"
clear_ask = "Take all pictures off this page? What is kept in the history stays there; an export of them is then over."
clear_trial_ask = "Take all pictures off this page? Some were judged on trial and are kept nowhere else."
export_csv = "Table (CSV)"
export_zip = "Marked pictures (ZIP)"
download = "Download"
export_stopped = "Stopped; no ZIP was made."
what_if = "What if the threshold were here?"
what_if_info = "Judges all pictures here again, at once. Nothing is saved."
reset = "Back"
the_picture = "the picture"
heat = "Heat"
heat_strength = "strength of the heat"
compare = "Good part"
split = "Draw the good part over the picture, from the left to where the slider stands"
compare_title = "Show the most similar good part in its place, and back: what differs flickers"
look_there = "Zoom there; once more: the whole picture"
previous = "previous picture"
next = "next picture"
zoom_in = "zoom in"
zoom_out = "zoom out"
zoom = "Zoom with the wheel or two fingers; drag to move."
fit = "Fit"
score = "Score"
score_tip = "How unlike the good parts this picture is. Higher is worse; it has no unit."
threshold = "Threshold"
threshold_tip = "A picture above it is called defective. Calibration set it so that few good parts lie above."
review_threshold = "Review from"
review_tip = "Between this and the threshold lies the grey band: a person should look."
region = "Marked places"
region_tip = (
    "Where the picture is more unusual than good parts get, the strongest first, in pixels of the camera's picture. "
    "The peak is the largest value inside, in multiples of the limit for places."
)
dashed = "No place passes the limit for places by itself; the most unusual ones are shown, dashed."
no_region = "No marked places."
beside = "The same place on the most similar good part"
here = "this part"
good_part = "good part {part}"
strip = "Good parts of the calibration (dots), thresholds (lines), this part (triangle)"
ordinary = "An ordinary picture: at least half of the good parts look this unusual."
reasons = {
    Reason.GROSS_DEFECT: "Too unusual to judge: a gross defect. The picture resembles the part but for the marked "
    "places.",
    Reason.WRONG_PICTURE: "Too unusual to judge: a wrong picture. It resembles the good parts nowhere, or almost: "
    "another product, view or light, or a covered lens.",
}
keys = (
    ("← →", "previous, next picture"),
    ("H", "heat on or off"),
    ("B", "the most similar good part in its place, and back"),
    ("+ −", "zoom"),
    ("0", "whole picture"),
    ("a", "show all pictures"),
    ("m", "more pictures, where there are too many to show at once"),
    ("o", "choose pictures"),
    ("c", "camera on or off"),
    ("space", "take a picture, while the camera is on"),
)


def shows(product: str, reason: Reason | None) -> str:
    """As which of several products a picture was judged that did not say."""
    if reason is Reason.WRONG_PICTURE:
        return say("It shows none of the products; the nearest is {product}.", product=product)
    return say("Judged as {product}, the nearest product.", product=product)


def p_value(p: float, good_parts: int, finest: bool) -> str:
    """The p-value in words, which claim no more than the calibration parts show. `finest`: none looks this unusual."""
    if finest:
        return say("None of the {parts} calibration parts looks this unusual.", parts=good_parts)
    if p >= 0.5:
        return say(ordinary)
    return count(
        "{number} of the {parts} calibration parts looks this unusual or more so.",
        "{number} of the {parts} calibration parts look this unusual or more so.",
        max(1, round(p * (good_parts + 1)) - 1),
        parts=good_parts,
    )


def judging(done: int, expected: int) -> str:
    if expected > 1:
        return say("Judging: {done} of {expected}", done=done, expected=max(done, expected))
    return say("Judging: {done}", done=done)


def done(pictures: int, parts: int) -> str:
    same = counted(pictures, "picture")
    if parts == pictures:
        return say("{pictures} judged", pictures=same)
    return say("{pictures} of {parts} judged", pictures=same, parts=counted(parts, "part"))


def tried(pictures: int) -> str:
    return say("{pictures} judged on trial: not in the history.", pictures=counted(pictures, "picture"))


def stopped(pictures: int) -> str:
    return say("Stopped after {pictures}; what was judged is kept", pictures=counted(pictures, "picture"))


def drawing(done: int, total: int) -> str:
    return say("Drawing picture {done} of {total}", done=done, total=total)


def more(next_few: int, shown: int, all_pictures: int) -> str:
    return say(
        "Show {next_few} more ({shown} of {all_pictures})", next_few=next_few, shown=shown, all_pictures=all_pictures
    )


def peak(value: float, limit: float) -> str:
    return (
        say("{value:.1f} × the limit for places", value=value / limit)
        if limit > 0
        else say("peak {value:.2f}", value=value)
    )


def place_size(width_px: int, height_px: int, mm_per_px: float | None) -> str:
    size = say("{width} × {height} px", width=width_px, height=height_px)
    if mm_per_px is None:
        return size
    return size + say(" ({width:.3g} × {height:.3g} mm)", width=width_px * mm_per_px, height=height_px * mm_per_px)


def place_at(left_px: int, top_px: int, area_px: int, mm_per_px: float | None) -> str:
    area = (
        say("{area:,} px²", area=area_px) if mm_per_px is None else say("{area:.3g} mm²", area=area_px * mm_per_px**2)
    )
    return say("at {left}, {top}; {area}", left=left_px, top=top_px, area=area)


def more_regions(left_out: int) -> str:
    return count(
        "The {number} other has lower peaks; all are outlined in the picture.",
        "The {number} others have lower peaks; all are outlined in the picture.",
        left_out,
    )


def left_out(pictures: int) -> str:
    return count(
        "{number} picture is not in it, because the station cannot read it any more: left-out.txt in the ZIP names it.",
        "{number} pictures are not in it, because the station cannot read them any more: left-out.txt in the ZIP names "
        "each.",
        pictures,
    )


def failed(reason: str) -> str:
    return say(
        "Ended early: {reason}. What is shown was recorded; drop the other pictures again.", reason=heard(reason)
    )


def abandoned(arrived: int, expected: int) -> str:
    return say(
        "The browser has sent nothing more: of {files} that it announced, {pictures} arrived. Drop the others again.",
        files=counted(expected, "file"),
        pictures=counted(arrived, "picture"),
    )


def other_calibration(cleared: int) -> str:
    return count(
        "Another model, product or threshold is at work since the last drop, so {number} picture of before was "
        "cleared here: "
        "verdicts of two kinds do not belong in one table. It stays in the history.",
        "Another model, product or threshold is at work since the last drop, so {number} pictures of before were "
        "cleared here: "
        "verdicts of two kinds do not belong in one table. They stay in the history.",
        cleared,
    )


def trial_over(cleared: int) -> str:
    return count(
        "The trial is over: {number} picture that was judged on trial was cleared here. Drop it again to keep it.",
        "The trial is over: {number} pictures that were judged on trial were cleared here. Drop them again to keep "
        "them.",
        cleared,
    )


def flipped(count: int, rate: float) -> str:
    return say(
        "{pictures} would change. At this threshold about {rate:.2g}% of good parts would be "
        "rejected: an estimate from the calibration parts, not a guarantee.",
        pictures=counted(count, "picture"),
        rate=100 * rate,
    )


def clear_first(limit: int) -> str:
    return say(
        "This tab holds {pictures} already; export what you need, press Clear, and drop these again.",
        pictures=counted(limit, "picture"),
    )


def flip(before: str, after: str) -> str:
    return f"{VERDICTS[before][0]} → {VERDICTS[after][0]}"
