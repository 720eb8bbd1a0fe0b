"""Words of a recipe's settings on the page Train."""

from __future__ import annotations

from collections.abc import Sequence

from defectflow_ui.language import count, say

title = "Settings of the recipe, and where to look"
text = "Changes to the recipe, one a line"
text_info = "As image.size=384 or embedding.levels=[1, 2]. What is chosen or drawn below is written here."
usual = "as the recipe says"
size = "Size the model sees"
sizes = {"": usual, "256": "256 px: faster", "320": "320 px", "448": "448 px", "640": "640 px: finer, slower"}
promise = "The promise holds"
promises = {"": usual, "expected": "on average", "confident": "with 95% confidence"}
scale = "16-bit pictures: white is"
scales = {
    "": "found from the pictures",
    "1023": "1023 (10 bits)",
    "4095": "4095 (12 bits)",
    "16383": "16383 (14 bits)",
    "65535": "65535 (16 bits)",
}
align = "Align the parts"
aligns = {
    "": usual,
    "auto": "where it helps",
    "never": "never",
    "small": "by small shifts and turns",
    "turned": "from any turn",
}
show = "Draw where to look on a picture"
tools = "What to draw"
each_tool = {
    "rectangle": "Cut to a rectangle",
    "outline": "Outline to be inspected",
    "ignore": "Outline to be ignored",
    "brush": "Brush over what is to be ignored",
}
brush_width = "Brush"
brush_widths = ("thin", "medium", "thick")
draw_it = (
    "Drag a rectangle or the brush. For an outline click its corners, and end it by a double click or the Enter key; "
    "Escape gives it up. What is drawn is kept in the recipe, as fractions of the picture."
)
whole = "Clear: the whole picture"
picture = "one of the pictures"
no_source = "choose the pictures first; one of them is shown to draw on"
not_drawn = "this cannot be read as something drawn; draw it again"
too_small = "this is narrower than a fiftieth of the picture; draw a larger one"


def region(cut: bool, outlines: int, ignored: int, share: float) -> list[str]:
    told = [say("cut to a rectangle")] if cut else []
    if outlines:
        told.append(count("inside {number} outline", "inside {number} outlines", outlines))
    if ignored:
        told.append(count("{number} area ignored", "{number} areas ignored", ignored))
    return [*told, say("{share:.0%} of the picture inspected", share=share)]


def no_areas(said: str) -> str:
    return say(
        "{said!r} is no list of areas; write it as {example}, or clear it",
        said=said[:60],
        example="[{points: [[0.1, 0.1], [0.4, 0.1], [0.4, 0.5]]}]",
    )


def no_rectangle(said: str) -> str:
    return say(
        "{said!r} is no rectangle inside the picture; write left, top, width and height as {example}, or clear it",
        said=said[:60],
        example="[0.1, 0.1, 0.8, 0.8]",
    )


def too_long(length: int, most: int) -> str:
    return say(
        "the changes to the recipe have {length} characters; at most {most} are taken: write a recipe's file",
        length=length,
        most=most,
    )


def no_setting(line: str) -> str:
    return say("{line!r} is no setting; write one a line, as image.size=384", line=line)


def not_allowed(key: str, allowed: Sequence[str]) -> str:
    return say(
        "{key}: cannot be changed on this page, only {allowed}; use a recipe's file in the data folder",
        key=key,
        allowed=", ".join(allowed),
    )
