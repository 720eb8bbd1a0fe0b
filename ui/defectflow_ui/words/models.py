"""Words of the page Models."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from defectflow_ui.language import Kept, keep, say
from defectflow_ui.words.heard import heard

tab = "Models"
none_active = "No model is active; choose one on the page Models and press Activate."
active = "active"
none_calibrated = (
    "No model can judge yet: their calibration parts are too few for the rate that was asked for. On the page "
    "Calibrate, accept a higher rate, or train again with more good parts."
)
by_itself = "judges because it is the only model; nobody has activated it"
estimate = "chosen after looking: an estimate"
uncalibrated = "uncalibrated: scores, but no verdicts"
unusable = "cannot be used"
nothing = "No models yet"
nothing_chosen = "Choose a model"
nothing_chosen_do = "Click one in the list to see what it is and what it promises."
activate = "Activate"
link = "link to it"
verify = "Verify"
download = "Download the ONNX file"
download_about = "It takes raw pixels and gives verdicts. ONNX Runtime alone runs it, from C#, C++ or Python."
compare = "Compare with"
compare_nothing = "(nothing)"
guarantee = "What it promises"
certificate = "Certificate of this machine"
outdated = "It was verified before it was last changed; press Verify."
comparison_head = (
    ("runs on", "What did the computing: this machine's processor, or another device."),
    ("pictures", ""),
    ("verdicts that differ", "Pictures whose verdict differs from the calibrated model's. There must be none."),
    ("borderline", "So close to the threshold that rounding alone could tip the verdict; counted apart."),
    ("largest difference (σ)", "Of any score, in standard deviations (σ) of the good parts' scores."),
    ("95% within (ms)", "Of 20 pictures, 19 took no longer."),
)
warnings = "What may weaken the promise"
rows = {
    "made": ("made", ""),
    "bundle_id": ("model number", "Changes with every training: two models with the same number are the same."),
    "calibration_id": ("calibration number", "Changes whenever the thresholds are set again."),
    "parts": (
        "good parts: train / tune / calibration",
        "What it has learned from, what ended the learning, what its thresholds come from. No part does two of them.",
    ),
    "threshold": ("threshold", "Parts that score above it are called defective."),
    "review": ("review from", "Between this and the threshold lies the grey band: a person should look."),
    "rate": ("good parts rejected on average, at most", "The promise, over many calibrations like this one."),
    "confident": ("with 95% confidence, at most", "The promise, kept in 19 of 20 calibrations like this one."),
    "auroc": ("separation on test pictures", "Area under the ROC curve by part: 1 is perfect, 0.5 is chance."),
    "overkill": ("good test parts rejected", "Overkill, when it was last evaluated with these thresholds."),
    "escape": ("defective test parts passed", "Escapes, when it was last evaluated with these thresholds."),
    "false_alarms": (
        "rejected at the line, and answered good",
        "Of the parts that it rejected and that somebody has answered about.",
    ),
    "misses": (
        "called OK at the line, and answered defective",
        "Of the parts that it called OK and that somebody has answered about. Parts for review count in neither.",
    ),
    "size": (
        "input size (px)",
        "Pictures are brought to this size first: what is smaller than a pixel then is not seen.",
    ),
    "backbone": (
        "backbone",
        "The ready-made network that turns places of a picture into numbers. It is not trained here.",
    ),
    "flow": ("density", "The kind of model that has learned how likely these numbers are on good parts."),
    "versions": ("made with", ""),
}
keys = (
    ("← →", "previous, next model"),
    ("V", "verify it"),
    ("A", "go to Activate; Enter then presses it"),
    ("D", "download the ONNX file"),
)

manage = "Name, note, delete"
name = "Name"
rename = "Rename"
note = "Note"
note_info = "What others should know about it: camera, light, what was changed. Kept with who wrote it and when."
keep_note = "Keep the note"
why = "Why it is deleted"
delete = "Delete this model"
delete_ask = "Delete this model's files for good? What it judged stays in the history."
noted = "The note is kept."
noted_by = "noted by"
not_evaluated = "not evaluated"
activated_here = Kept("activated on the page Models")


def scale(mm_per_px: float | None) -> Kept:
    return keep("no scale any more") if mm_per_px is None else keep("a pixel shows {mm:g} mm", mm=mm_per_px)


def part_rule(expression: str) -> Kept:
    return keep("its parts are told by the expression {expression} from now on (page Inspect)", expression=expression)


def activate_ask(name: str) -> str:
    return say(
        "Let {name} judge from now on, for everybody at this station? The model of before can be activated again.",
        name=name,
    )


def activated(name: str) -> str:
    return say("{name} is active: from now on it judges.", name=name)


def verifying(stage: str, done: int, total: int) -> str:
    return say("Verifying: {stage}, {done} of {total}", stage=heard(stage), done=done, total=total)


def verification(name: str) -> Kept:
    """A job's title; whoever sees the job hears it."""
    return keep("Verify the model {name}", name=name)


def still_verifying(title: str) -> str:
    return say("'{title}' is still running; wait for it, or stop it above", title=heard(title))


def certified(machine: str) -> str:
    return say("Verified on {machine}: intact, and it gives the recorded verdicts there.", machine=machine)


def refused(machine: str) -> str:
    return say("Do not use this model on {machine}: its verification failed.", machine=machine)


def by_hand(name: str) -> str:
    return say("{name}: nobody has verified it on this machine yet; press Verify.", name=name)


def gone(name: str) -> str:
    return say("{name}: there is no such model in the station's folder any more; reload the page", name=name)


def empty(folder: Path) -> str:
    return say(
        "{folder} holds no models yet: train one on the page Train from pictures of good parts, "
        "or with: defectflow fit GOOD --out {folder}/NAME",
        folder=folder,
    )


def renamed(name: str, called: str) -> Kept:
    return keep("{name} is called {called} from now on", name=name, called=called)


def deleted(name: str) -> str:
    return say("{name} is deleted. What it judged stays in the history.", name=name)


def active_stays(name: str) -> str:
    return say("{name} is active and judges; activate another model first, then delete this one", name=name)


def all_products(names: Sequence[str]) -> str:
    return say("This goes for all its products: {names}", names=", ".join(names))


def share(count: int, of: int) -> str:
    if not of:
        return say("nobody has answered yet")
    return say("{count} of {of} ({share:.1f}%)", count=count, of=of, share=100 * count / of)


def bad_name(name: str) -> str:
    return say(
        "{name!r} cannot be a model's name; use up to 64 letters, digits, dots, dashes or underscores, as in bracket-2",
        name=name,
    )


def name_taken(name: str) -> str:
    return say("there is a model {name} already, and it is not replaced; choose another name", name=name)


def one_bundle_only(folder: Path) -> str:
    return say(
        "the station was started with the single bundle {folder}; start it with the folder that holds your bundles",
        folder=folder,
    )
