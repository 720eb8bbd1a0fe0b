"""Words of the sign-in page."""

from __future__ import annotations

from defectflow_ui.language import say
from defectflow_ui.words import common
from defectflow_ui.words.heard import heard

out_of_order = "Nobody can sign in just now: the station's records cannot be written. Its own messages say why."
wrong = "This form was not filled in by the sign-in page."


def refused(reason: str) -> str:
    return say("You are not signed in: {reason}.", reason=heard(reason))


def wait(seconds: float) -> str:
    return say("Too many attempts. Try again in {minutes} min.", minutes=max(1, round(seconds / 60)))


def page() -> dict[str, str]:
    return {
        "title": common.title,
        "subtitle": common.subtitle,
        "name": say("Name"),
        "password": say("Password"),
        "enter": say("Sign in"),
        "hint": say("Users are managed with `defectflow users` on the station's machine."),
    }
