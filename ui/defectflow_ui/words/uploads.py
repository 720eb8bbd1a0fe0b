"""Words of what is taken and refused of a drop."""

from __future__ import annotations

from collections.abc import Sequence

from defectflow.common import remedy
from defectflow_ui.language import say
from defectflow_ui.words.common import counted
from defectflow_ui.words.heard import heard

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
    return say(
        "{name}: is over the limit of {limit_mib} MiB for one file; send it compressed or cut",
        name=name,
        limit_mib=limit_mib,
    )


def drop_too_large(name: str, limit_mib: int) -> str:
    return say(
        "{name}: with it, this drop is over the limit of {limit_mib} MiB; send the rest separately",
        name=name,
        limit_mib=limit_mib,
    )


def too_many(name: str, limit: int) -> str:
    return say("{name}: a drop may hold {limit} pictures; send the rest separately", name=name, limit=limit)


def too_many_pixels(name: str, width: int, height: int, limit: int) -> str:
    return say(
        "{name}: {width} x {height} pixels are over the limit of {limit:,}; shrink or cut it",
        name=name,
        width=width,
        height=height,
        limit=limit,
    )


def zip_too_many(name: str, limit: int) -> str:
    return say("{name}: holds more than {limit} pictures; send several smaller ZIPs", name=name, limit=limit)


def zip_leaves(name: str, entry: str) -> str:
    return say(
        "{name}: refused, because its entry {entry!r} would lie outside the ZIP's own folder", name=name, entry=entry
    )


def zip_bomb(name: str, entry: str) -> str:
    return say(
        "{name}: refused, because its entry {entry!r} would unpack to far more than pictures do", name=name, entry=entry
    )


def zip_method(name: str, entry: str) -> str:
    return say(
        "{name}: refused, because its entry {entry!r} is not packed in the usual way; zip it with Deflate",
        name=name,
        entry=entry,
    )


def zip_without_pictures(name: str, left_out: Sequence[tuple[str, str]]) -> str:
    return (
        say("{name}: holds no pictures; {left_out}", name=name, left_out=_counted(left_out))
        if left_out
        else say("{name}: is an empty ZIP", name=name)
    )


def skipped(name: str, left_out: Sequence[tuple[str, str]]) -> str:
    """(file, reason) of what is not looked at."""
    return f"{name}: {_counted(left_out)}"


def _counted(left_out: Sequence[tuple[str, str]]) -> str:
    reasons = list(dict.fromkeys(reason for _, reason in left_out))
    told = []
    for why in reasons:
        names = [file for file, reason in left_out if reason == why]
        told.append(f"{', '.join(names[:NAMED])}{', ...' if len(names) > NAMED else ''} ({why})")
    return say("{files} skipped: {told}", files=counted(len(left_out), "file"), told="; ".join(told))


def lost(name: str) -> str:
    return say(
        "{name}: did not arrive, though it was sent twice; check the connection to the station, and drop it again",
        name=name,
    )


def too_many_open(limit: int) -> str:
    return say("{limit} drops are being sent from this browser already; wait until one of them is done", limit=limit)


def session_full(held_mib: float, limit_mib: int) -> str:
    return say(
        "Pictures in this browser's tabs occupy {held_mib:,.0f} MiB on the station, and "
        "{limit_mib:,} MiB is the limit; export what you need, press Clear, and drop these again.",
        held_mib=held_mib,
        limit_mib=limit_mib,
    )


def not_taken(name: str, error: OSError) -> str:
    return say(
        "{name}: cannot be taken ({error}); {remedy} on the station's disk, and drop it again",
        name=name,
        error=error.strerror or error,
        remedy=heard(remedy(error)),
    )


def bad_zip(name: str, reason: str) -> str:
    return say("{name}: is damaged, encrypted or of an unknown kind of ZIP ({reason})", name=name, reason=reason)


def bad_zip_entry(name: str, reason: str) -> str:
    return say("{name}: cannot be unpacked ({reason})", name=name, reason=reason)
