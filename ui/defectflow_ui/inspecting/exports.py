"""Judged pictures -> a table, and a ZIP of marked pictures. No Gradio here."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from defectflow.data import Picture
from defectflow.errors import ImageError
from defectflow.image import read_image
from defectflow.line import Inspector, as_csv, flatten, row_of
from defectflow.verdict import overlay
from defectflow_ui.inspecting.judged import Judged
from defectflow_ui.pictures import jpeg

TABLE, LEFT_OUT = "results.csv", "left-out.txt"


@dataclass(frozen=True, slots=True)
class Drawn:
    """How far a ZIP is."""

    done: int
    left_out: int
    """Pictures that could not be read again. The ZIP names them in `left-out.txt`."""
    address: str | None = None
    """Where it can be had, at the end."""


def as_table(rows: Sequence[Judged], inspector: Inspector) -> str:
    """CSV with the columns of `defectflow score`."""
    table = []
    for row in rows:
        picture = Picture(row.file or Path(row.name), row.part or row.name, None, "")
        table.append(row_of(row.name, picture, row.item, inspector.card_of(row.product)))
    return as_csv(flatten(table))


def draw_zip(file: Path, rows: Sequence[Judged], inspector: Inspector, wanted: Callable[[], bool]) -> Iterator[Drawn]:
    """Write every picture with its heat and outlines, and the table, into a ZIP at `file`; yields after each picture.

    The file is there only once everything is in it; not at all once `wanted` says no.
    """
    partial, left_out = file.with_suffix(".partial"), list[str]()
    try:
        with zipfile.ZipFile(partial, "w", zipfile.ZIP_STORED) as archive:  # JPEG does not get any smaller
            archive.writestr(TABLE, as_table(rows, inspector))
            for done, row in enumerate(rows, start=1):
                if not wanted():
                    return
                if row.file is not None and row.verdict is not None:
                    try:
                        pixels = read_image(row.file, full_scale=inspector.image.full_scale)
                    except ImageError as error:  # one that is gone by now costs nobody the others
                        left_out.append(f"{row.name}: {str(error).removeprefix(f'{row.file}: ')}")
                    else:
                        archive.writestr(_name(row), jpeg(overlay(pixels, row.verdict)))
                yield Drawn(done, len(left_out))
            if left_out:
                archive.writestr(LEFT_OUT, "\n".join(left_out) + "\n")
        partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)


def _name(row: Judged) -> str:
    stem = re.sub(r"[^\w.-]", "_", PurePosixPath(row.name).stem)  # Windows does not take every name
    return f"{row.decision()}/{row.number + 1:04}-{stem}.jpg"
