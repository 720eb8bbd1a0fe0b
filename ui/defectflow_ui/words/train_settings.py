"""Words of a recipe's settings on the page Train."""

from __future__ import annotations

from collections.abc import Sequence

from defectflow_ui.language import say

title = "Settings of the recipe, and the region of interest"
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
show = "Draw the region of interest on a picture"
draw_it = "Drag a rectangle around what is to be looked at; what lies outside is cut off. Kept in the recipe."
whole = "Whole picture"
picture = "one of the pictures"
no_source = "choose the pictures first; one of them is shown to draw on"
no_rectangle = "this is no rectangle; draw it again"
too_small = "this rectangle is smaller than a fiftieth of the picture; draw a larger one"


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
