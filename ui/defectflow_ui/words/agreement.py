"""Words of the page Agreement."""

from __future__ import annotations

from defectflow_ui.language import say

tab = "Agreement"
no_model = "No model to judge for"
nothing = "No blind double reviews have been set up"
done = "You have judged everything"
done_do = (
    "Thank you. Once others have, too, this makes the report: defectflow study agreement BUNDLE --store STORE "
    "--out FOLDER"
)
blind = "Judge by the part alone. No verdict is shown, nor what you or others answered before."
good = "Good"
defective = "Defective"
no_picture = "This picture is gone; judge by the part at hand."
not_shown = "That part is no longer the one shown; look at the one that is."
may_not = "Answering needs the role operator. Ask whoever manages users at your site."
keys = (("G", "it is good"), ("D", "it is defective"), ("+ −", "zoom"))


def nothing_do(bundle: str, store: str) -> str:
    return say(
        "An engineer begins a study of agreement with: defectflow study agreement {bundle} --store {store} --begin "
        "NAME. Its parts then appear here, for everybody to judge twice, without seeing any verdict.",
        bundle=bundle,
        store=store,
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
