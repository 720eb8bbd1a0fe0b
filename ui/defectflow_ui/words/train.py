"""Words of the page Train."""

from __future__ import annotations

from typing import Any

from defectflow_ui.words.common import counted

tab = "Train"

source = "Pictures"
source_info = (
    "A folder on this machine, what you have dropped below, or a model's pictures with the answers given since."
)
drop = "Drop good pictures here, one or hundreds, or a ZIP; or"
drop_choose = "choose files"
drop_note = "They stay on this machine; the last three uploads are kept to be learned from."
recipe = "Recipe"
recipe_info = "How thorough, and for what kind of part. 'default' is right to begin with."
part_regex = "Part's name in the file name"
part_regex_info = (
    "Only where several pictures show one part: an expression that finds the part's name, like (part\\d+). "
    "Empty: every picture shows another part."
)
rate = "Good parts that may be rejected (%)"
rate_info = "The promise that the model is to make. 5 is usual; 1 needs five times as many parts."
check = "1. Check the pictures"
name = "Name of the new model"
name_info = "Letters, digits, dots, dashes. It becomes a folder."
train = "2. Train"
stop = "Stop"
resume = "Resume"
stop_upload = "Stop the upload"
activate = "3. Activate"
whole_folder = "(the whole data folder)"

nothing_yet = "Nothing trained here yet"
nothing_yet_do = (
    "Choose pictures of good parts and press 'Check the pictures'. That looks for unreadable, duplicate and suspicious "
    "ones and takes a minute; nothing is learned yet."
)
keys = (("c", "check the pictures"), ("t", "train"))
no_data_folder = (
    "No folder on this machine is open to the station; start it with --data DIR to choose one, or drop pictures."
)

findings = "What the check has found"
gravity = {"fine": "fine", "note": "note", "look": "look", "stop": "stop"}
suspects = "Most unusual pictures: are these really good?"
suspects_note = (
    "Each picture was compared with the other parts only. Take one out only if it is wrong: without good parts that "
    "merely look unusual, the promise would not hold."
)
use_siblings = "Use this expression"
stands_out = "stands out"
log = "Log"
states = {
    "running": "running",
    "done": "finished",
    "failed": "failed",
    "cancelled": "stopped",
    "ended": "ended unexpectedly",
}
leave = "You can leave this page, or close the browser: the work continues, and you will find it here."
stopped = "Stopped. Nothing half-made is left; press the button again to start over."
kept = "What was learned until then is kept: press 'Resume', or start over."
stages = {
    "check pictures": "Can every picture be read?",
    "adapt": "The network adapts to your pictures.",
    "embed": "Each picture is turned into the numbers that are learned from. Kept, so that it is done only once.",
    "compare": "Each picture against the other parts.",
    "learn level": "How good parts vary, at one size of detail. It stops by itself once more training does not help.",
    "export": "The model becomes one ONNX file, and is compared with what was learned.",
    "calibrate": "Parts that were kept apart say where the threshold lies.",
    "evaluate": "The test pictures, judged by the new model.",
}
promise = "What the new model promises"
evaluation = "On the test pictures"
no_test = (
    "There are no labelled test pictures beside these, so nobody knows yet which defects it finds. Try it on Inspect."
)
no_evaluation = "The test pictures could not be evaluated; the log says why. The model itself is complete."
unsure = "Good parts that it is least sure of"
unsure_note = (
    "Calibration parts with the highest scores, each with the threshold. One that is really defective spoils it: take "
    "it out, and train again."
)
score_of = "{score:.2f} of {threshold:.2f}"
score_only = "score {score:.2f}"
refused = "refused as not this part"
activated_here = "activated on the page Train"
overkill = "good parts rejected"
escape = "defective parts passed"
auroc = "separation of good and defective parts (AUROC)"
auroc_tip = (
    "How often a defective part scores higher than a good one: 1 is always, 0.5 is no better than a coin. "
    "It says nothing about where the threshold lies."
)
overkill_tip = "Overkill. With so few test parts the true share may lie anywhere in the 95% interval."
escape_tip = "Escapes: defective parts called ok. The true share of such defects lies in the 95% interval, most likely."
predicted = "The number of rejected good parts is what the promise predicts."
not_predicted = (
    "More or fewer good parts are rejected than the promise predicts: are the test parts made and pictured alike?"
)

nothing_uploaded = (
    "none of these files is a picture that can be used; drop PNG, JPEG, BMP, TIFF or WebP pictures, or a ZIP of them"
)
seen_in_fit = "{count} of these pictures were used to train or calibrate the model, so the figures are too optimistic."
this_upload = "this upload"
another_meanwhile = (
    "something else was started here in the meantime; leave this page and come back to see it, then decide"
)
nothing_to_resume = "no training was interrupted here; press 'Train' to start one"
nothing_joins = (
    "no part that was answered good can join the training yet: answer some on Review, Inspect or History first. Parts "
    "that were randomly sampled do not count; they may calibrate"
)
upload_stopped = "The upload was stopped; nothing of it is kept."
no_result = "The check ended without a result; the log says why."
check_first = "check the pictures first, and wait until that has finished; then train on them"
fit_would_fail = "the check found something that would make training fail; fix it, check again, then train"
no_such_source = "choose pictures first: a folder from the list, or drop some"
no_such_recipe = "this recipe is not on offer; choose one from the list"


left_out_title = "Pictures that are left out, or called defective"
left_out = "Left out of the fit, one picture a line"
left_out_info = "Neither good nor defective: blurred, another product, taken twice."
defective = "Called defective, one picture a line"
defective_info = "Their parts are kept for testing; the model is not fitted to them."
leave_out = "Leave out"
call_defective = "Defective"


def no_such_picture(name: str, count: int) -> str:
    more = f" (and {count - 1} more)" if count > 1 else ""
    return f"{name}{more}: none of the good pictures is called so; write its name as the check shows it, or take it out"


def uploaded(pictures: int) -> str:
    return f"uploaded: {counted(pictures, 'picture')}"


def folder(path: str) -> str:
    """A folder or manifest by its path in the data folder."""
    return whole_folder if path == "." else path


def again(model: str) -> str:
    return f"the pictures of {model}, and the answers given since"


def called(source: str) -> str:
    """A source, as its value in the list has it."""
    kind, _, name = source.partition(":")
    match kind:
        case "uploaded":
            return "uploaded pictures"
        case "folder":
            return folder(name)
        case "again":
            return again(name)
    return source  # of a task that an earlier station has started


def checking(source: str) -> str:
    return f"Check {called(source)}"


in_the_form = f"(type it under “{rate}”)"
confident = "a promise with 95% confidence"


def _asked(wish: Any, who: str) -> str:
    parts = f", parts by {wish.part_regex}" if wish.part_regex else ""
    own = f" with {', '.join(wish.settings.splitlines())}" if wish.settings else ""
    if out := len(wish.left_out.splitlines()):
        parts += f", {counted(out, 'picture')} left out"
    if bad := len(wish.defective.splitlines()):
        parts += f", {counted(bad, 'picture')} called defective"
    return f"{called(wish.source)}, recipe {wish.recipe}{own}, at most {100 * wish.rate:g}% rejected{parts} (by {who})"


def as_checked(wish: Any, who: str) -> str:
    return f"As checked: {_asked(wish, who)}."


def changed_since(wish: Any, who: str) -> str:
    return f"this is not what was checked last: {_asked(wish, who)}; check again, then train"


def joins(model: str, parts: int, joined: int, missing: int, first: str, unnamed: int) -> str:
    count = {0: "No part", 1: "1 part"}.get(joined, f"{joined} parts")
    said = (
        f"{count} answered good {'joins' if joined < 2 else 'join'} the training, beside the "
        f"{counted(parts, 'part')} that {model} was made from. None of the audit sample is among them, and none that "
        "calibrates: every part of the first fit stays on its side."
    )
    if unnamed:
        said += (
            f" Answered good, but left out: {unnamed}. The expression for parts' names does not find "
            f"{'that part' if unnamed == 1 else 'those parts'} in the names of the pictures."
        )
    gone = f"{missing} parts of the first fit are gone, the first is" if missing > 1 else "1 part of it is gone:"
    return f"{said} {gone} {first}." if missing else said


def originals_gone(model: str, parts: int, folders: bool) -> str:
    where = "put them back into the data folder" if folders else "start the station with --data DIR, where they lie"
    return (
        f"the pictures of the {parts} parts that {model} was made from are not on offer here any more (of uploads, "
        f"only the last three are kept); {where}, or drop them again under the same names"
    )


def arriving(pictures: int, files: int, megabytes: float) -> str:
    return f"Uploading: {counted(pictures, 'picture')} so far, {megabytes:.0f} MB, of {counted(files, 'file')}"


def more_refused(files: int) -> str:
    return f"and {counted(files, 'more file')}: not taken either"


def upload_abandoned(pictures: int, files: int) -> str:
    return (
        f"the browser has sent nothing more: of {counted(files, 'file')} that it announced, "
        f"{counted(pictures, 'picture')} arrived. Nothing of it is kept; drop them again"
    )


def time_left(seconds: float) -> str:
    """In steps that do not pretend to more than is known."""
    if seconds < 60:
        return "Less than a minute left, as the last time."
    return f"About {round(seconds / 60)} min left, as the last time."


def training(name: str) -> str:
    return f"Train {name}"


def one_at_a_time(title: str) -> str:
    return f"'{title}' is still running; wait for it, or stop it first"


def share(figures: dict[str, Any]) -> str:
    low, high = figures["interval"]
    return f"{figures['count']} of {figures['of']} (95% interval {100 * low:.1f}% to {100 * high:.1f}%)"


engineers_only = "For engineers"
engineers_only_do = "Training changes what the station judges by, so it needs the role 'engineer'."


def activated(name: str) -> str:
    return f"{name} is active: from now on it judges."
