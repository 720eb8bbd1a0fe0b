"""Errors of writing to the station's disk, such as a full one, as messages for the page."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from defectflow.errors import DataError
from defectflow_ui.words import common as words


@contextmanager
def writing(what: str) -> Iterator[None]:
    """`what` is being written, in words that a person reads. Raises DataError if the disk does not take it."""
    try:
        yield
    except OSError as error:
        raise DataError(words.not_written(what, error)) from error
