"""What the rest of DefectFlow says on pages, in English: promises, warnings, errors. Pages translate them."""

from __future__ import annotations

import re
import string
from functools import cache, lru_cache

from defectflow_ui.language import SOURCE, catalogue, is_text, number, spoken

sentences: tuple[str, ...] = ()
"""As they are written there, with whatever they quote in braces."""


def heard(text: str) -> str:
    """What DefectFlow has said or logged, in the language of this call; as it is where nobody translated it."""
    return text if spoken() == SOURCE else _heard(spoken(), str(text))


@lru_cache(maxsize=4096)
def _heard(code: str, text: str) -> str:
    known = catalogue(code)
    for said in (text, text[:1].lower() + text[1:], text.removesuffix(".")):  # as it is, or made a sentence of
        if said and (whole := known.gettext(said)) != said:
            return _like(text, whole)
    for pattern, sentence in _patterns():
        if found := pattern.fullmatch(text):
            parts = {name: _part(code, part) for name, part in found.groupdict().items()}
            return _like(text, known.gettext(sentence).format(**parts))
    return text


def _part(code: str, said: str) -> str:
    return _heard(code, said) if is_text(said) else number(said, code)


def _like(text: str, said: str) -> str:
    """What is said instead of a text begins and ends as the text does."""
    said = said[:1].upper() + said[1:] if text[:1].isupper() else said
    return f"{said}." if text.endswith(".") and not said.endswith(".") else said


@cache
def _patterns() -> list[tuple[re.Pattern[str], str]]:
    """The longest first: it says the most."""
    return [(pattern_of(one), one) for one in sorted(sentences, key=len, reverse=True) if "{" in one]


def pattern_of(sentence: str) -> re.Pattern[str]:
    """What a sentence looks like once its braces are filled; its first letter may have become a capital."""
    told = "".join(
        re.escape(said) + (f"(?P<{name}>.+?)" if name else "") for said, name, *_ in string.Formatter().parse(sentence)
    )
    first = re.escape(sentence[0])
    if sentence[0].isalpha():
        told = f"[{sentence[0].upper()}{sentence[0].lower()}]" + told.removeprefix(first)
    return re.compile(told.removesuffix(r"\.") + r"\.?", re.DOTALL)
