"""`defectflow log`: check the store of inspections, export it, set what is kept, look for drift."""

from __future__ import annotations

import shlex
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from defectflow.cli.console import BundlePath, Json, command, err, out, print_json
from defectflow.cli.store_options import By, StoreUrl, me, utc

NOT_AS_WRITTEN = DRIFTED = 1

log_app = typer.Typer(
    name="log",
    help="The store of inspections: check, export, settings, retention, drift, receivers and what they refused.",
    no_args_is_help=True,
)

Since = Annotated[datetime | None, typer.Option(help="From this time on, UTC.")]
Until = Annotated[datetime | None, typer.Option(help="Before this time, UTC.")]


@command(log_app, "verify", "--store inspections.db")
def verify_log(
    store: StoreUrl,
    head: Annotated[
        str | None, typer.Option(help="A head noted earlier (NUMBER:HASH): check that the log continues it.")
    ] = None,
) -> None:
    """Check the whole log and name each row that was altered; the exit code is 1 if there is one."""
    from defectflow.store import Store
    from defectflow.store.chain import Head

    with Store.open(store, create=False) as opened:
        result = opened.verify(noted=None if head is None else Head.parse(head))
    for finding in result.findings:
        err.print(finding, style="red", markup=False, highlight=False, soft_wrap=True)
    gone = f", {result.removed} removed by retention" if result.removed else ""
    out.print(f"{result.rows} rows{gone}; head {result.head}", markup=False, highlight=False, soft_wrap=True)
    if not result.passed:
        raise typer.Exit(NOT_AS_WRITTEN)
    out.print("The log is unaltered. Keep the head elsewhere: it shows whether the log's end was ever cut off.")


@command(log_app, "export", "--store inspections.db --out inspections.csv --since 2026-01-01")
def export_log(
    store: StoreUrl,
    to: Annotated[Path, typer.Option("--out", help="The CSV file.")],
    since: Since = None,
    until: Until = None,
    part: Annotated[str | None, typer.Option(help="This part only.")] = None,
) -> None:
    """Write all inspections as one CSV file."""
    from defectflow.common import atomic_write
    from defectflow.store import Query, Store

    query = Query(since=utc(since), until=utc(until), part=part)
    with (
        Store.open(store, create=False) as opened,
        atomic_write(to) as partial,
        partial.open("w", encoding="utf-8", newline="") as stream,
    ):
        count = opened.history.export_csv(stream, query)
    out.print(f"{count} inspections: {to}", markup=False, highlight=False, soft_wrap=True)


@command(log_app, "settings", "--store inspections.db --set pictures=copy")
def log_settings(
    store: StoreUrl,
    change: Annotated[
        list[str] | None, typer.Option("--set", help="KEY=VALUE, e.g. pictures=copy or review.audit_rate=0.1.")
    ] = None,
    by: By = None,
) -> None:
    """Show what the store keeps and for how long, or change it."""
    import yaml

    from defectflow.recipe import override
    from defectflow.store import Store, StoreSettings

    with Store.open(store, create=bool(change)) as opened:
        settings = opened.settings
        if change:
            settings = override(StoreSettings, settings.model_dump(mode="json"), change)
            opened.configure(settings, by=me(by))
    out.print(yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False).rstrip(), markup=False, highlight=False)


@command(log_app, "retain", "--store inspections.db")
def retain(store: StoreUrl, by: By = None) -> None:
    """Delete what is older, or takes more room, than the store's settings allow. For cron."""
    from defectflow.store import Store

    with Store.open(store, create=False) as opened:
        rows, pictures = opened.retain(by=me(by))
        waiting, where = opened.kept_for_channels(), str(opened.database)
    out.print(f"Removed {rows} rows and {pictures} pictures.")
    for one in waiting:
        remedy = shlex.join(["defectflow", "log", "channels", "--store", where, "--forget", one.name])
        said = f"older rows stay until {one.name} has been told them (inspections behind: {one.behind})"
        err.print(
            f"note: {said}. If nothing listens there any more: {remedy}", markup=False, highlight=False, soft_wrap=True
        )


@command(log_app, "channels", "--store inspections.db")
def channels(
    store: StoreUrl,
    forget: Annotated[
        str | None, typer.Option(help="Drop this one: what it has not been told is never sent. E.g. 'webhook mes'.")
    ] = None,
    json: Json = None,
) -> None:
    """List what a service tells (webhooks, a broker, OPC UA), and how many inspections each is behind."""
    from defectflow.store import Store

    with Store.open(store, create=False) as opened:
        if forget is not None:
            opened.outbox.forget(forget)
        found = opened.outbox.channels()
    if print_json(json, [asdict(one) | {"since": one.since and one.since.isoformat()} for one in found]):
        return
    table = Table("channel", "inspections behind", "since", "a service tells it")
    for one in found:
        since = f"{one.since:%Y-%m-%d %H:%M:%S}" if one.since else ""
        table.add_row(one.name, str(one.behind), since, "yes" if one.held else "no")
    if forget is not None:
        out.print(f"Dropped: {forget}", markup=False, highlight=False, soft_wrap=True)
    out.print(table if found else "There are no channels: no service has told anybody anything.")


@command(log_app, "refused", "--store inspections.db --again")
def refused(
    store: StoreUrl,
    channel: Annotated[str | None, typer.Option(help="Only this receiver's, e.g. 'webhook mes'.")] = None,
    again: Annotated[
        bool, typer.Option("--again", help="Have them sent again, by the running service or the next.")
    ] = False,
    json: Json = None,
) -> None:
    """List what webhooks refused and was set aside: a message refused over and over, while others were accepted."""
    from defectflow.store import Store

    with Store.open(store, create=False) as opened:
        everybodys = opened.outbox.refused()
        found = [one for one in everybodys if channel in (None, one.channel)]
        if again:
            opened.outbox.tell_again(found)
            found = [replace(one, again=True) for one in found]
    if print_json(json, [asdict(one) | {"at": one.at.isoformat()} for one in found]):
        return
    table = Table("channel", "number", "refused", "again", "why")
    for one in found:
        at = f"{one.at:%Y-%m-%d %H:%M:%S}"
        table.add_row(one.channel, str(one.number), at, "waits" if one.again else "", one.why)
    if found:
        out.print(table)
        return
    others = ", ".join(sorted({one.channel for one in everybodys}))
    said = f"none of {channel}; there are some of {others}" if others else "none: no receiver refuses anything"
    out.print(said, markup=False, highlight=False, soft_wrap=True)


@command(log_app, "drift", "models/bracket --store inspections.db")
def show_drift(
    bundle: BundlePath,
    store: StoreUrl,
    since: Annotated[datetime | None, typer.Option(help="Count only alarms from this time on, UTC.")] = None,
    looked_into: Annotated[
        str | None, typer.Option(help="Write into the log what was found; this ends the alarms up to now.")
    ] = None,
    by: By = None,
) -> None:
    """Check whether production has moved since the calibration; the exit code is 1 if so. For cron.

    An alarm stands until the thresholds are set again or somebody has looked into it.
    """
    from defectflow.bundle import open_bundle
    from defectflow.store import Store
    from defectflow.store.drift import drift, look_into

    card = open_bundle(bundle).card
    with Store.open(store, create=False) as opened:
        if looked_into is not None:
            look_into(opened, card, by=me(by), reason=looked_into)
        course = drift(opened, card)
    out.print(course.sentence(), markup=False, highlight=False, soft_wrap=True)
    begun = utc(since)
    if any(begun is None or alarm.at >= begun for alarm in course.standing):
        raise typer.Exit(DRIFTED)
