"""Colours, fonts and layout, light and dark. Everything comes from this machine.

The verdict colours are those of Okabe and Ito (Color Universal Design, 2008), told apart with any colour vision; each
comes with an icon and a word as well.
"""

from __future__ import annotations

import html
from datetime import UTC, datetime
from pathlib import Path

import gradio as gr

from defectflow_ui.words.verdicts import VERDICTS

ASSETS = Path(__file__).parents[1] / "assets"
FONTS = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Liberation Sans", "sans-serif")
MONO = ("ui-monospace", "Cascadia Mono", "Liberation Mono", "monospace")
ICONS = {"ok": "✓", "review": "?", "defect": "✕", "invalid": "⊘", "error": "!"}
HEAD = (
    '<link rel="stylesheet" href="/station/station.css"><link rel="stylesheet" href="/station/training.css">'
    '<script src="/station/station.js" defer></script>'
)


def theme() -> gr.themes.Base:
    """Gradio's base theme with the station's accent and the system's own fonts."""
    return gr.themes.Base(
        primary_hue=gr.themes.colors.sky,
        neutral_hue=gr.themes.colors.slate,
        radius_size=gr.themes.sizes.radius_md,
        font=FONTS,
        font_mono=MONO,
    ).set(
        color_accent="var(--accent)",
        slider_color="var(--accent)",
        slider_color_dark="var(--accent)",
        checkbox_background_color_selected="*primary_700",
        checkbox_background_color_selected_dark="*primary_600",
        body_text_color_subdued="*neutral_600",
        block_info_text_color="*neutral_600",
        block_info_text_color_dark="*neutral_300",
        body_background_fill="*neutral_50",
        body_background_fill_dark="*neutral_950",
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_hover="*primary_800",
        button_primary_background_fill_dark="*primary_700",
        button_primary_background_fill_hover_dark="*primary_800",
        button_primary_text_color="white",
        button_primary_text_color_dark="white",
    )


def block(content: str = "", *, elem_id: str, events: str = "") -> gr.HTML:
    """A piece of the page that Python writes as HTML. `events` is the JavaScript that turns clicks into events."""
    # Gradio fetches station.js beside the page, and on a slow line or a busy machine it comes after it.
    begun = f"{events}; element.dataset.ready = '';"
    waits = f"const begin = () => {{ if (window.station) {{ {begun} }} else setTimeout(begin, 20); }}; begin();"
    return gr.HTML(content, elem_id=elem_id, js_on_load=waits if events else None, apply_default_css=False)


def clicks(*names: str) -> str:
    """For `block`: a click on something with data-<name> is the event <name>, with that attribute as its value."""
    return f"station.clicks(element, trigger, {', '.join(repr(name) for name in names)})"


def badge(decision: str, *, small: bool = False) -> str:
    """A verdict as HTML: colour, icon and word."""
    word, tip = VERDICTS[decision]
    size = " small" if small else ""
    return f'<span class="badge {decision}{size}" title="{html.escape(tip)}"><b>{ICONS[decision]}</b> {word}</span>'


def empty(title: str, what_to_do: str) -> str:
    """An empty state as HTML: what is missing, and what to do about it."""
    return f'<div class="empty"><h3>{html.escape(title)}</h3><p>{html.escape(what_to_do)}</p></div>'


def notice(text: str) -> str:
    """What has just happened, as HTML that a screen reader reads out."""
    return f'<p class="said" role="status">{html.escape(text)}</p>'


def problem(text: str) -> str:
    """What is wrong, as HTML that a screen reader reads out."""
    return f'<p class="problem" role="alert">{html.escape(text)}</p>'


def moment(at: datetime, *, seconds: bool = False) -> str:
    """A time as HTML, which station.js shows in the zone of the browser; UTC is said on hover."""
    utc = at.astimezone(UTC)
    form = "seconds" if seconds else "minutes"
    told = f"{utc:%Y-%m-%d %H:%M:%S} UTC" if seconds else f"{utc:%Y-%m-%d %H:%M} UTC"
    return f'<time datetime="{utc:%Y-%m-%dT%H:%M:%SZ}" title="{told}" data-form="{form}">{told}</time>'


def tip(text: str, explanation: str) -> str:
    """A term with its explanation on hover and focus, as HTML."""
    return f'<span class="tip" tabindex="0" data-tip="{html.escape(explanation)}">{html.escape(text)}</span>'
