"""Words of what is taken and refused of a drop."""

from __future__ import annotations

from collections.abc import Sequence

from defectflow.common import remedy
from defectflow_ui.words.common import counted

nameless = "picture"
this_drop = "what is dropped"
no_picture = "no picture"
hidden = "hidden"
inner_zip = "a ZIP within the ZIP, which is not opened: drop it by itself"
packed_oddly = "not packed with Deflate, so not looked into"
NAMED = 5
"""Skipped files that are named for each reason, at most."""
ended = "nothing more is taken into this drop: it was stopped, or nothing came for a while."


def file_too_large(name: str, limit_mib: int) -> str:
    return f"{name}: is over the limit of {limit_mib} MiB for one file; send it compressed or cut"


def drop_too_large(name: str, limit_mib: int) -> str:
    return f"{name}: with it, this drop is over the limit of {limit_mib} MiB; send the rest separately"


def too_many(name: str, limit: int) -> str:
    return f"{name}: a drop may hold {limit} pictures; send the rest separately"


def too_many_pixels(name: str, width: int, height: int, limit: int) -> str:
    return f"{name}: {width} x {height} pixels are over the limit of {limit:,}; shrink or cut it"


def zip_too_many(name: str, limit: int) -> str:
    return f"{name}: holds more than {limit} pictures; send several smaller ZIPs"


def zip_leaves(name: str, entry: str) -> str:
    return f"{name}: refused, because its entry {entry!r} would lie outside the ZIP's own folder"


def zip_bomb(name: str, entry: str) -> str:
    return f"{name}: refused, because its entry {entry!r} would unpack to far more than pictures do"


def zip_method(name: str, entry: str) -> str:
    return f"{name}: refused, because its entry {entry!r} is not packed in the usual way; zip it with Deflate"


def zip_without_pictures(name: str, left_out: Sequence[tuple[str, str]]) -> str:
    return f"{name}: holds no pictures; {_counted(left_out)}" if left_out else f"{name}: is an empty ZIP"


def skipped(name: str, left_out: Sequence[tuple[str, str]]) -> str:
    """(file, reason) of what is not looked at."""
    return f"{name}: {_counted(left_out)}"


def _counted(left_out: Sequence[tuple[str, str]]) -> str:
    reasons = list(dict.fromkeys(reason for _, reason in left_out))
    told = []
    for why in reasons:
        names = [file for file, reason in left_out if reason == why]
        told.append(f"{', '.join(names[:NAMED])}{', ...' if len(names) > NAMED else ''} ({why})")
    return f"{counted(len(left_out), 'file')} skipped: {'; '.join(told)}"


def lost(name: str) -> str:
    return f"{name}: did not arrive, though it was sent twice; check the connection to the station, and drop it again"


def too_many_open(limit: int) -> str:
    return f"{limit} drops are being sent from this browser already; wait until one of them is done"


def session_full(held_mib: float, limit_mib: int) -> str:
    return (
        f"Pictures in this browser's tabs occupy {held_mib:,.0f} MiB on the station, and {limit_mib:,} MiB is the "
        "limit; export what you need, press Clear, and drop these again."
    )


def not_taken(name: str, error: OSError) -> str:
    return (
        f"{name}: cannot be taken ({error.strerror or error}); {remedy(error)} on the station's disk, and drop it again"
    )


def bad_zip(name: str, reason: str) -> str:
    return f"{name}: is damaged, encrypted or of an unknown kind of ZIP ({reason})"


def bad_zip_entry(name: str, reason: str) -> str:
    return f"{name}: cannot be unpacked ({reason})"
