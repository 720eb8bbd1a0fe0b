"""Colours, fonts and layout, light and dark. Everything comes from this machine.

The verdict colours are those of Okabe and Ito (Color Universal Design, 2008), distinct for any colour vision; each
comes with an icon and a word as well.
"""

from __future__ import annotations

from pathlib import Path

import gradio as gr

from defectflow_ui.markup.render import render

ASSETS = Path(__file__).parents[1] / "assets"
FONTS = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Liberation Sans", "sans-serif")
MONO = ("ui-monospace", "Cascadia Mono", "Liberation Mono", "monospace")
HEAD = render("head.html")
"""What Gradio puts into the head of its page."""


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
