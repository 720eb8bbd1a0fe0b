"""Inspector + pictures -> rows of the results, one by one: a folder on one machine, and a shard on Ray.

Drawn and recorded first, so that a row means that everything of its picture was tried.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from defectflow.bundle import Card
from defectflow.data import Picture, printable
from defectflow.errors import ImageError, SettingsError
from defectflow.line.drawn import OutputError, draw
from defectflow.line.inspector import Inspector, Source
from defectflow.line.journal import Row, Run, Stamp
from defectflow.line.tables import row_of
from defectflow.verdict import Measurement, Verdict

Record = Callable[[Picture, str, Verdict | ImageError, bool], object]
"""Also keeps a verdict elsewhere: the picture, its name in the results, what came of it, and whether an earlier look of
this run at the same name found nothing that could be read."""


def check_wanted(cards: Sequence[Card], *, scores_only: bool, drawn: bool, recorded: bool) -> None:
    """Raises NotCalibrated where none has thresholds, or SettingsError for what scores without verdicts cannot give."""
    if not scores_only:
        if all(card.calibration is None for card in cards):
            cards[0].require_calibration()
    elif drawn:
        raise SettingsError("overlays and masks need thresholds; leave them out, or leave --scores-only out")
    elif recorded:
        raise SettingsError("a store keeps verdicts; leave --store out, or leave --scores-only out")


def judge(
    inspector: Inspector,
    pictures: Iterable[tuple[str, Picture]],
    out: Path,
    run: Run,
    known: Mapping[str, Row],
    record: Record | None,
    address: Callable[[Picture], str] | None = None,
) -> Iterator[Row]:
    """One row for each (name in the results, picture), in order; overlays and masks go to `out`.

    `known`: rows of an earlier look. `run` says what is wanted. Pictures are taken a few ahead of the rows.
    `address`: where the picture lies of which `path` is a copy made for this look only; messages name it.
    """
    look = inspector.measure if run.scores_only else inspector.inspect
    taken: deque[tuple[str, Picture, Stamp | None]] = deque()

    def shown() -> Iterator[Source]:
        for name, picture in pictures:
            taken.append((name, picture, Stamp.of(picture.path)))  # before it is read: a change in between shows later
            yield picture.path if inspector.family is None else (picture.path, picture.product)

    for item in look(shown()):
        name, picture, stamp = taken.popleft()
        if address is not None and isinstance(item, ImageError):
            item = ImageError(str(item).replace(str(picture.path), address(picture)))
        seen, output_error = _drawn(out, name, picture, item, inspector, run)
        if record is not None and isinstance(seen, Verdict | ImageError):
            earlier = known.get(name)
            if earlier is None or not _is_told(earlier, seen):
                record(picture, name, seen, earlier is not None and earlier.error is not None)
        product = picture.product if isinstance(seen, ImageError) else seen.product
        auto = inspector.is_open and picture.product is None
        yield row_of(name, picture, seen, inspector.card_of(product), stamp, output_error, auto=auto)


def _drawn(
    out: Path, name: str, picture: Picture, item: Measurement | ImageError, inspector: Inspector, run: Run
) -> tuple[Measurement | ImageError, str | None]:
    """What came of a picture once its overlay and mask are there; and why they are not, where the disk refuses them."""
    if not isinstance(item, Verdict):
        return item, None
    full_scale = inspector.image.full_scale
    try:
        draw(out, name, picture.path, item, full_scale, overlays=run.overlays, masks=run.masks)
    except ImageError as error:  # moved away since it was judged
        return error, None
    except OutputError as error:
        return item, str(error)
    return item, None


def _is_told(earlier: Row, item: Verdict | ImageError) -> bool:
    """Whether the run has recorded this very result already, and looks again for other reasons."""
    if isinstance(item, ImageError):
        return earlier.error == printable(str(item))
    return earlier.sha256 is not None and earlier.sha256 == item.sha256
