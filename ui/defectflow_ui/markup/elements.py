"""The pieces of pages that handlers put together themselves; templates have all of elements.html available."""

from __future__ import annotations

import gradio as gr
from markupsafe import Markup

from defectflow_ui.markup.render import element


def block(content: str = "", *, elem_id: str, events: str = "") -> gr.HTML:
    """A piece of the page that a template writes. `events` is the JavaScript that turns clicks into events."""
    # Gradio fetches station.js beside the page, and on a slow line or a busy machine it comes after it.
    begun = f"{events}; element.dataset.ready = '';"
    waits = f"const begin = () => {{ if (window.station) {{ {begun} }} else setTimeout(begin, 20); }}; begin();"
    return gr.HTML(content, elem_id=elem_id, js_on_load=waits if events else None, apply_default_css=False)


def clicks(*names: str) -> str:
    """For `block`: a click on something with data-<name> is the event <name>, with that attribute as its value."""
    return f"station.clicks(element, trigger, {', '.join(repr(name) for name in names)})"


def empty(title: str, what_to_do: str, page: str = "", lead: str = "") -> Markup:
    """An empty state: what is missing, what to do about it, and a button `lead` to the `page` where that is done."""
    return element("empty", title, what_to_do, page, lead)


def notice(text: str) -> Markup:
    """What has just happened, which a screen reader reads out."""
    return element("notice", text)


def note(text: str) -> Markup:
    """How something stands."""
    return element("note", text)


def problem(text: str) -> Markup:
    """What is wrong, which a screen reader reads out."""
    return element("problem", text)
