"""A large picture, blended with its marks and zoomed, on Inspect and on Review; and a link to a download."""

from __future__ import annotations

from markupsafe import Markup

from defectflow_ui.markup.render import render
from defectflow_ui.words import inspect as words


def viewer(plain: str, marked: str | None, width_px: int, height_px: int) -> Markup:
    """By the pictures' addresses; `marked`: the same with heat and outlines, where there is one."""
    return render("viewer.html", words=words, plain=plain, marked=marked, width_px=width_px, height_px=height_px)


def download(address: str, what: str) -> Markup:
    return render("download.html", address=address, said=words.download, what=what)
