"""Words of the page Train."""

from __future__ import annotations

from typing import Any

from defectflow_ui.language import SOURCE, Kept, count, keep, say, speaking
from defectflow_ui.words.common import counted
from defectflow_ui.words.heard import heard

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
    "merely look unusual, the promise would not hold. A ring marks the most unusual place; a click shows the picture "
    "large."
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
    "align": "Do all parts lie alike? Where they do not, they are shifted and turned, if that helps.",
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
refused = "refused as not this part"
too_few = "It cannot be activated yet"
to_calibrate = "Calibrate it"
changed_later = "What it promised when it was trained; its thresholds were changed since, see the page Calibrate."
recipes = {
    "default": "any part, in a minute or two",
    "accurate": "tighter marks, slower",
    "fast": "small computers, smaller pictures",
    "large": "small defects in large pictures",
    "object": "parts that always lie alike",
    "texture": "surfaces: fabric, leather, cast metal",
    "free": "without weights trained on ImageNet",
}
activated_here = Kept("activated on the page Train")
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
put_aside = {"out": "left out", "bad": "called defective"}
put_back = "Put back"


def no_such_picture(name: str, number: int) -> str:
    return count(
        "{name}: none of the good pictures is called so; write its name as the check shows it, or take it out",
        "{name} and {more} more: none of the good pictures is called so; write names as the check shows them",
        number,
        name=name,
        more=number - 1,
    )


def enlarge(name: str) -> str:
    return say("{name}, large", name=name)


def uploaded(pictures: int) -> str:
    return say("uploaded: {pictures}", pictures=counted(pictures, "picture"))


def folder(path: str) -> str:
    """A folder or manifest by its path in the data folder."""
    return say(whole_folder) if path == "." else path


def again(model: str) -> str:
    return say("the pictures of {model}, and the answers given since", model=model)


def called(source: str) -> str:
    """A source, as its value in the list has it."""
    kind, _, name = source.partition(":")
    match kind:
        case "uploaded":
            return say("uploaded pictures")
        case "folder":
            return folder(name)
        case "again":
            return again(name)
    return source  # of a task that an earlier station has started


def checking(source: str) -> Kept:
    """A job's title; whoever sees the job hears it."""
    with speaking(SOURCE):
        return keep("Check pictures: {source}", source=called(source))


in_the_form = f"(type it under “{rate}”)"
confident = "a promise with 95% confidence"


def _asked(wish: Any, who: str) -> str:
    told = [
        called(wish.source),
        say("recipe {recipe}", recipe=wish.recipe),
        *wish.settings_told(),
        say("at most {rate:g}% rejected", rate=100 * wish.rate),
    ]
    if wish.part_regex:
        told.append(say("parts by {expression}", expression=wish.part_regex))
    if out := len(wish.left_out.splitlines()):
        told.append(say("{pictures} left out", pictures=counted(out, "picture")))
    if bad := len(wish.defective.splitlines()):
        told.append(say("{pictures} called defective", pictures=counted(bad, "picture")))
    return f"{', '.join(told)} ({who})"


def as_checked(wish: Any, who: str) -> str:
    return say("As checked: {wish}.", wish=_asked(wish, who))


def changed_since(wish: Any, who: str) -> str:
    return say("this is not what was checked last: {wish}; check again, then train", wish=_asked(wish, who))


def joins(model: str, parts: int, joined: int, missing: int, first: str, unnamed: int) -> str:
    said = [
        count(
            "{number} part answered good joins the training, beside the {parts} that {model} was made from.",
            "{number} parts answered good join the training, beside the {parts} that {model} was made from.",
            joined,
            parts=counted(parts, "part"),
            model=model,
        ),
        say(
            "None of those randomly sampled is among them, and none that calibrates: every part of the first fit stays "
            "on its side."
        ),
    ]
    if unnamed:
        said.append(
            say(
                "Answered good, but left out: {number}. The expression for parts' names finds nothing in the names of "
                "their pictures.",
                number=unnamed,
            )
        )
    if missing:
        said.append(
            count(
                "{number} part of the first fit is gone: {first}.",
                "{number} parts of the first fit are gone, the first is {first}.",
                missing,
                first=first,
            )
        )
    return " ".join(said)


def originals_gone(model: str, parts: int, folders: bool) -> str:
    where = say("put them back into the data folder")
    if not folders:
        where = say("start the station with --data DIR, where they lie")
    return say(
        "the pictures of the {parts} parts that {model} was made from are not on offer here any more (of uploads, only "
        "the last three are kept); {where}, or drop them again under the same names",
        parts=parts,
        model=model,
        where=where,
    )


def arriving(pictures: int, files: int, megabytes: float) -> str:
    return say(
        "Uploading: {pictures} so far, {megabytes:.0f} MB, of {files}",
        pictures=counted(pictures, "picture"),
        megabytes=megabytes,
        files=counted(files, "file"),
    )


def more_refused(files: int) -> str:
    return say("and {more_files}: not taken either", more_files=counted(files, "more file"))


def upload_abandoned(pictures: int, files: int) -> str:
    return say(
        "the browser has sent nothing more: of {files} that it announced, {pictures} arrived. "
        "Nothing of it is kept; drop them again",
        files=counted(files, "file"),
        pictures=counted(pictures, "picture"),
    )


def time_left(seconds: float) -> str:
    """In steps that do not pretend to more than is known."""
    if seconds < 60:
        return say("Less than a minute left, as the last time.")
    return say("About {minutes} min left, as the last time.", minutes=round(seconds / 60))


def training(name: str) -> Kept:
    """A job's title; whoever sees the job hears it."""
    return keep("Train the model {name}", name=name)


def one_at_a_time(title: str) -> str:
    return say("'{title}' is still running; wait for it, or stop it first", title=heard(title))


def share(figures: dict[str, Any]) -> str:
    low, high = figures["interval"]
    return say(
        "{count} of {of} (95% interval {low:.1%} to {high:.1%})",
        count=figures["count"],
        of=figures["of"],
        low=low,
        high=high,
    )


engineers_only = "For engineers"
engineers_only_do = "Training changes what the station judges by, so it needs the role 'engineer'."


def uncalibrated(parts: int, rate: float, lowest: float) -> str:
    """`lowest`: the rate that these parts support; 1 or more: none."""
    said = say(
        "{parts} were kept for the calibration, too few for a promise of {rate:.3g}%.",
        parts=counted(parts, "part"),
        rate=100 * rate,
    )
    if lowest < 1:
        way = say(
            "They support {lowest:.3g}%: accept that on the page Calibrate, or train again with more good parts.",
            lowest=100 * lowest,
        )
    else:
        way = say("Train again with more good parts.")
    return f"{said} {way}"


def activated(name: str) -> str:
    return say("{name} is active: from now on it judges.", name=name)


def score_of(score: float, threshold: float) -> str:
    return say("{score:.2f} of {threshold:.2f}", score=score, threshold=threshold)


def score_only(score: float) -> str:
    return say("score {score:.2f}", score=score)


def seen_in_fit(pictures: int) -> str:
    return count(
        "{number} of these pictures was used to train or calibrate the model, so the figures are too optimistic.",
        "{number} of these pictures were used to train or calibrate the model, so the figures are too optimistic.",
        pictures,
    )
