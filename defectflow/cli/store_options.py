"""What commands that use the store share: its address, who acts, and how `score` writes verdicts to it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from getpass import getuser
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from defectflow.data import Picture
    from defectflow.errors import ImageError
    from defectflow.line import Inspector, Record
    from defectflow.verdict import Verdict

StoreUrl = Annotated[str, typer.Option("--store", help="The store: a path, or postgresql://user:password@host/name.")]
By = Annotated[str | None, typer.Option(help="Who does this, for the log; by default the current user.")]


@contextmanager
def recorder(url: str | None, inspector: Inspector) -> Iterator[Record | None]:
    """What `score` hands each verdict to; None without a store."""
    if url is None:
        yield None
        return
    from defectflow.store import Seen, Store
    from defectflow.verdict import Verdict

    with Store.open(url) as store:

        def record(picture: Picture, name: str, item: Verdict | ImageError, unread_before: bool) -> None:
            part = picture.part if picture.part_known else None
            seen = Seen(name, item, part, picture.path, unread_before=unread_before)
            product = item.product if isinstance(item, Verdict) else picture.product
            store.record(inspector.recorded_as(product), [seen], by=me(None), source="score")

        yield record


def me(by: str | None) -> str:
    """Who the log says it was."""
    try:
        return by or getuser()
    except (KeyError, OSError):  # a container's user without a name
        return "unknown"


def utc(moment: datetime | None) -> datetime | None:
    return None if moment is None else moment.replace(tzinfo=UTC)
