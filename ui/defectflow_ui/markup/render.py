"""Templates and plain values -> HTML and SVG. Nothing else of the station writes any.

Values are escaped wherever they stand, whoever has given them, unless a template has made them.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import ChoiceLoader, Environment, FileSystemLoader, PrefixLoader, StrictUndefined
from jinja2.ext import Extension
from markupsafe import Markup

from defectflow.gauge import TEMPLATES as CHARTS
from defectflow_ui.language import date, number, spoken
from defectflow_ui.settings import LOCAL_USER
from defectflow_ui.words import common as words
from defectflow_ui.words.heard import heard
from defectflow_ui.words.verdicts import VERDICTS

TEMPLATES = Path(__file__).parents[1] / "templates"
STYLES = Path(__file__).parents[1] / "assets" / "station.css"
ICONS = {"ok": "✓", "review": "?", "defect": "✕", "invalid": "⊘", "error": "!"}
BREAK = re.compile(r"(?<=[>}])[ ]*\n\s*|[ ]*\n\s*(?=[<{])")


class LineBreaks(Extension):
    """A line break beside a tag is for whoever reads the template, and becomes no space on the page."""

    def preprocess(self, source: str, name: str | None, filename: str | None = None) -> str:
        # As comments, so that an error still tells the right line.
        return BREAK.sub(lambda found: "{#" + "\n" * found[0].count("\n") + "#}", source.strip())


def render(template: str, **values: Any) -> Markup:
    """A template of the folder `templates`, which is given `values` and every name that `_environment` lists."""
    return Markup(ENVIRONMENT.get_template(template).render(values))


def stylesheet() -> Markup:
    """The station's own styles, for a file that holds all it shows."""
    return Markup(STYLES.read_text(encoding="utf-8"))


def element(name: str, *values: Any, **options: Any) -> Markup:
    """One of the pieces that all pages share: a macro of elements.html."""
    return Markup(getattr(ENVIRONMENT.get_template("elements.html").module, name)(*values, **options))


def person(user: str) -> str:
    """Who did something, for a reader: at a station without users nobody has a name."""
    return words.somebody_here if user == LOCAL_USER else user


def _environment() -> Environment:
    """Templates are part of the program, so whatever one lacks is an error, also a value that was not given."""
    made = Environment(
        loader=ChoiceLoader([FileSystemLoader(TEMPLATES), PrefixLoader({"gauge": FileSystemLoader(CHARTS)})]),
        autoescape=True,
        undefined=StrictUndefined,
        extensions=[LineBreaks],
    )
    made.filters.update(px=_px, utc=_utc, format=_format, plain=_plain, heard=_heard, person=person)
    made.globals.update(icons=ICONS, verdicts=VERDICTS, language=spoken)
    # The pieces that all pages share stand in every template.
    for name in ("asks", "badge", "empty", "tip", "moment", "keys_help", "thumbnail"):
        made.globals[name] = getattr(made.get_template("elements.html").module, name)
    return made


def _px(value: float) -> str:
    """A length of a drawing."""
    return f"{value:.1f}"


def _utc(at: datetime, form: str) -> str:
    """A time in UTC; as the language writes days, unless the form is ISO 8601 (with a T), which programs read."""
    at = at.astimezone(UTC)
    return at.strftime(form) if "T%H" in form else date(at, form)


def _format(form: str, *values: Any) -> str:
    """Numbers for people: `"%.3f"|format(score)`."""
    return number(form % values)


def _plain(value: float, form: str) -> str:
    """A number for the browser, the same in every language: `share|plain("%.4f")`."""
    return form % value


def _heard(said: object) -> str:
    """What the rest of DefectFlow says, in the language of the page. Markup stays as it is."""
    return said if isinstance(said, Markup) else heard(str(said))


ENVIRONMENT = _environment()
