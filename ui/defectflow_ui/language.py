"""In which language a visitor is spoken to. English is the source; any other language is a catalogue, words/<code>.po.

The language of a call is a context variable: the gate sets it for a request, `station.handler` for a handler. What
words/ says is looked up when it is accessed, so pages write `words.title` and get the visitor's own.
"""

from __future__ import annotations

import gettext
import re
import string
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from io import BytesIO
from pathlib import Path
from types import ModuleType
from typing import Any

CATALOGUES = Path(__file__).parent / "words"
COOKIE = "defectflow_language"
"""Holds what a visitor has chosen. Not secret, and shared by all stations of a machine."""
SOURCE = "en"
LETTERS = re.compile(r"[^\W\d_]{2}")
NUMBER = re.compile(r"\d[\d.,]*")


@dataclass(frozen=True, slots=True)
class Language:
    """How a language calls itself, and how it writes numbers and dates."""

    name: str
    decimal: str
    thousands: str
    percent: str
    date: str
    """For strftime."""


LANGUAGES = {
    SOURCE: Language("English", ".", ",", "%", "%Y-%m-%d"),
    "de": Language("Deutsch", ",", ".", "\N{NO-BREAK SPACE}%", "%d.%m.%Y"),
    "es": Language("Español", ",", ".", "\N{NO-BREAK SPACE}%", "%d/%m/%Y"),
}
_spoken: ContextVar[str] = ContextVar("language", default=SOURCE)


# ---- which language ------------------------------------------------------------------------------------------------


def spoken() -> str:
    """The code of the language of this call."""
    return _spoken.get()


@contextmanager
def speaking(code: str) -> Iterator[None]:
    """Inside it, everything is said in this language."""
    token = _spoken.set(code if code in LANGUAGES else SOURCE)
    try:
        yield
    finally:
        _spoken.reset(token)


def of_visitor(cookies: Mapping[str, str], headers: Mapping[str, str]) -> str:
    """What was chosen here before; else what the browser likes best (Accept-Language); else English."""
    chosen = cookies.get(COOKIE, "")
    return chosen if chosen in LANGUAGES else _liked(headers.get("accept-language") or "")


def _liked(accepted: str) -> str:
    """RFC 9110, 12.5.4: the first of ours by weight; a dialect counts as its language."""
    liked = list[tuple[float, str]]()
    for one in accepted[:1000].split(","):
        tag, _, weight = one.partition(";")
        code = tag.strip().lower().partition("-")[0]
        found = re.fullmatch(r"\s*q\s*=\s*([01](?:\.\d{0,3})?)\s*", weight)
        if code in LANGUAGES and (found or not weight.strip()):
            liked.append((float(found[1]) if found else 1.0, code))
    best = max(liked, key=lambda one: one[0], default=(0.0, SOURCE))  # of equals, max takes the first
    return best[1] if best[0] > 0 else SOURCE


# ---- what is said --------------------------------------------------------------------------------------------------


class Kept(str):
    """A text that goes into the log, in English whoever causes it; `words.heard` says it in the reader's language."""

    __slots__ = ()


class Words(ModuleType):
    """A module of words, whose texts are said in the language of whoever asks for them.

    Keys of a dictionary are the program's own and stay as they are; so do texts without two letters in a row, and Kept.
    """

    def __getattribute__(self, name: str) -> Any:
        value = super().__getattribute__(name)
        return value if name.startswith("__") or spoken() == SOURCE else translated(value)


def translated(value: Any) -> Any:
    """A text, or a tuple, or a dictionary's values, in the language of this call."""
    if type(value) is str:
        return catalogue(spoken()).gettext(value) if is_text(value) else value
    if type(value) is tuple:
        return tuple(translated(one) for one in value)
    if type(value) is dict:
        return {key: translated(one) for key, one in value.items()}
    return value


def is_text(value: str) -> bool:
    """Whether there is anything to translate in it: a key's letter or an arrow is the same everywhere."""
    return LETTERS.search(value) is not None


def say(text: str, **values: object) -> str:
    """A text in the language of this call, with these values in its braces; numbers as that language writes them."""
    return _written(catalogue(spoken()).gettext(text) if text else text, values)


def count(one: str, many: str, number: int, **values: object) -> str:
    """The same of a text that depends on a `{number}`: count("{number} picture", "{number} pictures", 2)."""
    return _written(catalogue(spoken()).ngettext(one, many, number), {"number": number, **values})


def keep(text: str, **values: object) -> Kept:
    """A text for the log, with these values: English, see Kept."""
    return Kept(text.format(**values))


class Lazily(Mapping[str, tuple[str, str]]):
    """A dictionary whose values are said in the language of whoever looks them up."""

    def __init__(self, said: Mapping[str, tuple[str, str]]) -> None:
        self.said = said

    def __getitem__(self, key: str) -> tuple[str, str]:
        found: tuple[str, str] = translated(self.said[key])
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self.said)

    def __len__(self) -> int:
        return len(self.said)


@cache
def catalogue(code: str) -> gettext.NullTranslations:
    """Compiled when its language is first asked for, so that whoever needs English alone pays nothing for it."""
    if code == SOURCE:
        return gettext.NullTranslations()
    from babel.messages.mofile import write_mo
    from babel.messages.pofile import read_po

    with (CATALOGUES / f"{code}.po").open("rb") as file:
        entries = read_po(file, locale=code)
    compiled = BytesIO()
    write_mo(compiled, entries)
    compiled.seek(0)
    return gettext.GNUTranslations(compiled)


# ---- numbers and dates ---------------------------------------------------------------------------------------------


class _Writer(string.Formatter):
    def format_field(self, value: Any, format_spec: str) -> str:
        said = format(value, format_spec)
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return number(said, spoken()) if is_number and format_spec else said


_WRITER = _Writer()


def _written(text: str, values: Mapping[str, object]) -> str:
    return _WRITER.vformat(text, (), values) if values else text


def number(said: str, code: str | None = None) -> str:
    """A number as Python writes it, or a text with only such numbers -> as the language does: 1,234.5% is 1.234,5 %."""
    language = LANGUAGES[spoken() if code is None else code]
    swapped = {".": language.decimal, ",": language.thousands}
    told = NUMBER.sub(lambda found: "".join(swapped.get(one, one) for one in found[0]), said)
    return told.replace("%", language.percent)


def date(at: datetime, form: str) -> str:
    """strftime, with days as the language writes them."""
    return at.strftime(form.replace("%Y-%m-%d", LANGUAGES[spoken()].date))
