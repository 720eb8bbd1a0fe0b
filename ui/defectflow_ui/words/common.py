"""Words of the frame around the pages, and refusals."""

from __future__ import annotations

from defectflow.common import remedy
from defectflow_ui.language import count, say
from defectflow_ui.words.heard import heard

title = "DefectFlow"
subtitle = "Inspection station"
sign_out = "Sign out"
theme_switch = "Dark or light"
keys_button = "Keys"
keys_title = "Keyboard"
keys = (("?", "show or hide the keys of this page"), ("Shift+D", "dark or light"), ("Esc", "leave a text field"))
sign_in_again = (
    "The session has ended; what you have saved is kept. Continue with a new one, and sign in again if asked."
)
sign_in_link = "Continue"
moved = "Production has moved."
moved_since = "The parts no longer score as they did at calibration; last alarm:"
moved_look = "Look at it"
moved_hide = "Hide here"
wrong_host = "this station answers only under its own name; open it as http://127.0.0.1 with its port."
wrong_origin = "requests from other web sites are not accepted."
no_longer_there = "this is no longer there, or cannot be read any more."
no_such_route = "there is nothing here."
request_too_large = "this request is larger than the station accepts."
no_bundle = "No active model"
uncalibrated = "uncalibrated"
estimate = "its thresholds were chosen after looking at scores: an estimate, nothing is promised"
connection = {
    "lost": "The station does not answer. This page waits for it; what was judged is kept.",
    "back": "The station was started again. What was judged is in the history; this page shows what was before.",
    "unjudged": "The station was started again. What was judged is in the history. Not judged: {count} ({names}).",
    "judge": "Judge these now",
    "reload": "Reload the page",
}
"""What a page says whose station is gone, or was gone."""
stop = "Stop"
roles = {"viewer": "viewer", "operator": "operator", "engineer": "engineer"}
language = "Language"
problem = "Error"
to_be_typed = "Please fill this in."
somebody_here = "somebody at this station"


def counted(number: int, what: str) -> str:
    """1 picture, 2 pictures."""
    return count(f"{{number}} {what}", f"{{number}} {what}s", number)


def not_allowed(role: str, needed: str) -> str:
    return say(
        "This needs the role '{needed}', and yours is '{role}'. Ask whoever manages users at your site.",
        needed=role_name(needed),
        role=role_name(role),
    )


def not_written(what: str, error: OSError) -> str:
    return say(
        "{what} cannot be written ({error}); {remedy} on the station's disk, and try again",
        what=what,
        error=error.strerror or error,
        remedy=heard(remedy(error)),
    )


def not_your_job(who: str) -> str:
    return say("{who} started this; only {who} can stop it, or somebody with the role 'engineer'.", who=who)


def signed_in(user: str, role: str) -> str:
    return say("on this machine") if user == "local" else f"{user} ({role_name(role)})"


def role_name(role: str) -> str:
    return say(roles[role]) if role in roles else role


def promise(rate: float) -> str:
    return say("rejects at most {rate:.3g}% of good parts on average", rate=100 * rate)
