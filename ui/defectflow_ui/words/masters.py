"""Words of the page Masters."""

from __future__ import annotations

from defectflow_ui.language import count, say

tab = "Masters"
no_model = "No model to check"
nothing = "No master parts yet"
nothing_do = (
    "Master parts are parts that are kept to check the inspection with: some good, some defective. An engineer takes "
    "pictures of them, puts these into folders called good and defective, and drops both folders here. At the start of "
    "a shift, new pictures of the same parts then show whether the inspection still sees what it saw."
)
released = "Released"
not_released = "Not released"
asked = "A check holds for {hours:g} hours; without one the service refuses pictures."
not_asked = (
    "No check is asked for: the service judges without one. To ask for one: defectflow log settings --store STORE "
    "--set golden.hours=8"
)
drop = "Drop new pictures of the master parts here, or"
drop_choose = "choose them"
drop_note = "Each file is called like its master part: {names}. Pictures of an earlier check are refused."
anew = "Register other master parts"
register_drop = "Drop two folders here, called good and defective, with a picture of each master part, or"
register_choose = "choose the folder that holds both"
register_note = "Each file is called like its part. From then on the part must be judged as it is now."
last = "The last check"
columns = (
    ("master part", ""),
    ("should be", ""),
    ("was judged", ""),
    ("score", "How unlike the good parts it is; it has no unit, and higher is worse."),
    ("control chart", "Whether the score stands out among those of earlier checks."),
)
not_pictured = "not pictured"
quiet = "nothing stands out"
chart_tip = (
    "The score at each check. Dashed: limits, three standard deviations to each side of the mean of the first checks "
    "(open circles), or as stated. Ringed: outside the limits, or the ninth in a row on one side of the mean."
)
keys = (("O", "choose pictures"),)
nothing_dropped = "Not all pictures arrived, so nothing was checked; drop them once more."


def learning(checks: int, baseline: int) -> str:
    return say("{checks} checks so far; limits follow from the first {baseline}.", checks=checks, baseline=baseline)


def arriving(here: int, files: int) -> str:
    return say("{here} of {files} pictures have arrived.", here=here, files=files)


def registered(parts: int) -> str:
    return count(
        "{number} master part is registered; this was its first check.",
        "{number} master parts are registered; this was their first check.",
        parts,
    )


def checked(passed: bool, signals: int) -> str:
    said = say("Every master part was judged as expected.")
    if not passed:
        said = say("Not every master part was judged as expected.")
    if not signals:
        return said
    stand_out = count(
        "{number} stands out in the control charts.", "{number} stand out in the control charts.", signals
    )
    return f"{said} {stand_out}"
