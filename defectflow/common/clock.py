"""The time as it is written into files: UTC, ISO 8601, to the second."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator


def utc_now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _check_moment(text: str) -> str:
    try:
        at = datetime.fromisoformat(text)
        at.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{text!r} is no moment in ISO 8601 ({error})") from error
    if at.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone")
    return text


Moment = Annotated[str, AfterValidator(_check_moment)]
"""ISO 8601 with a time zone, as `utc_now` writes it: for fields that are read from files."""
