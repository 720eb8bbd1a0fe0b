"""Words of the sign-in page."""

from __future__ import annotations

from defectflow_ui.words import common

out_of_order = "Nobody can sign in just now: the station's records cannot be written. Its own messages say why."
wrong = "This form was not filled in by the sign-in page."


def refused(reason: str) -> str:
    return f"You are not signed in: {reason}."


def wait(seconds: float) -> str:
    return f"Too many attempts. Try again in {max(1, round(seconds / 60))} min."


def page() -> dict[str, str]:
    return {
        "title": common.title,
        "subtitle": common.subtitle,
        "name": "Name",
        "password": "Password",
        "enter": "Sign in",
        "hint": "Users are managed with `defectflow users` on the station's machine.",
    }
