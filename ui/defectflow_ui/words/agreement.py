"""Words of the page Agreement."""

from __future__ import annotations

from defectflow_ui.language import count, say

tab = "Agreement"
no_model = "No model to judge for"
nothing = "No blind double reviews have been set up"
done = "You have judged everything"
done_do = "Thank you. The report, for engineers, counts everybody who has judged all parts."
nothing_do = (
    "In a study of agreement everybody judges the same parts twice, without seeing any verdict. It shows how far "
    "people agree with themselves, with each other, and with the system. An engineer begins one here."
)
studies = "Studies"
studies_about = (
    "A third of the parts are those nearest the threshold; the others are drawn from all that were inspected. Answers "
    "given on Review, Inspect and History say which of them are defective."
)
name = "Name of the new study"
parts = "Parts"
begin = "Begin"
report = "Report on the last study"
file_name = "agreement.html"
blind = "Judge by the part alone. No verdict is shown, nor what you or others answered before."
good = "Good"
defective = "Defective"
no_picture = "This picture is gone; judge by the part at hand."
not_shown = "That part is no longer the one shown; look at the one that is."
may_not = "Answering needs the role operator. Ask whoever manages users at your site."
keys = (("G", "it is good"), ("D", "it is defective"), ("+ −", "zoom"))


def begun(name: str, parts: int, known: int) -> str:
    return say(
        "Study {name} has begun: {parts} parts, of which answers tell the state of {known}. Everybody judges each "
        "twice, on this page.",
        name=name,
        parts=parts,
        known=known,
    )


def would_sway(left: int) -> str:
    return count(
        "{number} judgement of yours is missing, and the report would sway it; judge first.",
        "{number} judgements of yours are missing, and the report would sway them; judge first.",
        left,
    )


def progress(name: str, done: int, of: int, round_: int, rounds: int) -> str:
    return say(
        "Study {name}: {done} of {of} judged, round {round_} of {rounds}",
        name=name,
        done=done,
        of=of,
        round_=round_,
        rounds=rounds,
    )
