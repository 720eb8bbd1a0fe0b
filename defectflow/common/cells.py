"""Values -> cells of a CSV table that no spreadsheet runs as a formula. Every table for people is written through it.

A picture may be called `=HYPERLINK(...)`, and a spreadsheet takes whatever begins like a formula for one. Manifests,
which DefectFlow reads back, are not such tables. Source: OWASP, "CSV Injection".
"""

from __future__ import annotations

import re
from typing import Any

FORMULA = re.compile(r"[\t\n]|[\s\u200b\u2060\ufeff]*[=+\-@＝＋－＠]")
"""How text begins that a spreadsheet may run. Some skip what cannot be seen before it; some take full-width signs."""


def cell(value: Any) -> Any:
    """Text that begins like a formula gets an apostrophe, which a spreadsheet takes for "this is text".

    Its line ends become newlines, which a writer quotes: a lone carriage return it leaves bare, and a row would begin.
    Numbers stay numbers, negative ones too; other text is left unchanged.
    """
    if not isinstance(value, str):
        return value
    text = value.replace("\r\n", "\n").replace("\r", "\n")
    return f"'{text}" if FORMULA.match(text) else text
