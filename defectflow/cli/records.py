"""For whoever answers for the inspection: users, and the log. Nothing here needs torch."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from getpass import getpass, getuser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.table import Table

from defectflow.cli.console import BundlePath, err, out

if TYPE_CHECKING:
    from defectflow.bundle import Card
    from defectflow.data import Picture
    from defectflow.errors import ImageError
    from defectflow.line import Record
    from defectflow.verdict import Verdict

NOT_AS_WRITTEN = DRIFTED = 1
PASSWORD = "DEFECTFLOW_PASSWORD"

users_app = typer.Typer(name="users", help="Who may sign in to the inspection station.", no_args_is_help=True)
log_app = typer.Typer(name="log", help="The store of inspections: is it as it was written?", no_args_is_help=True)

StoreUrl = Annotated[str, typer.Option("--store", help="The store: a path, or postgresql://user:password@host/name.")]
Name = Annotated[str, typer.Argument(help="The user's name.")]
RoleName = Literal["viewer", "operator", "engineer"]
Since = Annotated[datetime | None, typer.Option(help="From this moment on, UTC.")]
Until = Annotated[datetime | None, typer.Option(help="Before this moment, UTC.")]
By = Annotated[str | None, typer.Option(help="Who does this, for the log; by default the system's user.")]


@contextmanager
def recorder(url: str | None, card: Card) -> Iterator[Record | None]:
    """What `score` hands each verdict to; None without a store."""
    if url is None:
        yield None
        return
    from defectflow.store import Seen, Store

    with Store.open(url) as store:

        def record(picture: Picture, name: str, item: Verdict | ImageError) -> None:
            part = picture.part if picture.part_known else None
            store.record(card, [Seen(name, item, part, picture.path)], by=me(None), source="score")

        yield record


@users_app.command("add")
def add_user(name: Name, store: StoreUrl, role: Annotated[RoleName, typer.Option()] = "viewer", by: By = None) -> None:
    """Let somebody sign in. The password is asked for, or read from standard input or DEFECTFLOW_PASSWORD."""
    from defectflow.store import Role, Store

    with Store.open(store) as opened:
        user = opened.users.add(name, Role(role), _password(), by=me(by))
    out.print(f"{user.name} may sign in as {user.role}.", markup=False, highlight=False)


@users_app.command("remove")
def remove_user(name: Name, store: StoreUrl, by: By = None) -> None:
    """Nobody signs in by this name any more; what they wrote stays."""
    from defectflow.store import Store

    with Store.open(store, create=False) as opened:
        opened.users.remove(name, by=me(by))
    out.print(f"{name} may no longer sign in.", markup=False, highlight=False)


@users_app.command("role")
def change_role(
    name: Name, role: Annotated[RoleName, typer.Argument(help="The new role.")], store: StoreUrl, by: By = None
) -> None:
    """viewer: looks; operator: also inspects and answers; engineer: also trains, calibrates and activates."""
    from defectflow.store import Role, Store

    with Store.open(store, create=False) as opened:
        user = opened.users.set_role(name, Role(role), by=me(by))
    out.print(f"{user.name} is {user.role} now.", markup=False, highlight=False)


@users_app.command("password")
def change_password(name: Name, store: StoreUrl, by: By = None) -> None:
    """Set a new password, which also ends a wait after wrong ones."""
    from defectflow.store import Store

    with Store.open(store, create=False) as opened:
        opened.users.set_password(name, _password(), by=me(by))
    out.print(f"{name} has a new password.", markup=False, highlight=False)


@users_app.command("list")
def list_users(store: StoreUrl) -> None:
    """Who may sign in, as what, since when."""
    from defectflow.store import Store

    with Store.open(store, create=False) as opened:
        users = opened.users.all()
    table = Table("user", "role", "since")
    for user in users:
        table.add_row(user.name, user.role, f"{user.since:%Y-%m-%d %H:%M} UTC")
    out.print(table if users else "nobody; defectflow users add NAME lets somebody sign in")


@log_app.command("verify")
def verify_log(
    store: StoreUrl,
    head: Annotated[
        str | None, typer.Option(help="A head noted earlier (number:hash): is the log still its continuation?")
    ] = None,
) -> None:
    """Read the whole log and name each row that is not as it was written; then the exit code is 1."""
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
    out.print("The log is as it was written. Note the head elsewhere, to find out if its end is ever cut off.")


@log_app.command("export")
def export_log(
    store: StoreUrl,
    to: Annotated[Path, typer.Option("--out", help="The CSV file.")],
    since: Since = None,
    until: Until = None,
    part: Annotated[str | None, typer.Option(help="This part only.")] = None,
) -> None:
    """Write all inspections as one CSV file."""
    from defectflow.common import whole
    from defectflow.store import Query, Store

    query = Query(since=utc(since), until=utc(until), part=part)
    with (
        Store.open(store, create=False) as opened,
        whole(to) as partial,
        partial.open("w", encoding="utf-8", newline="") as stream,
    ):
        count = opened.history.export_csv(stream, query)
    out.print(f"{count} inspections: {to}", markup=False, highlight=False, soft_wrap=True)


@log_app.command("settings")
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


@log_app.command("retain")
def retain(store: StoreUrl, by: By = None) -> None:
    """Remove what the store's settings no longer want kept. For cron."""
    from defectflow.store import Store

    with Store.open(store, create=False) as opened:
        rows, pictures = opened.retain(by=me(by))
    out.print(f"Removed {rows} rows and {pictures} pictures.")


@log_app.command("drift")
def show_drift(
    bundle: BundlePath,
    store: StoreUrl,
    since: Annotated[datetime | None, typer.Option(help="Only an alarm from this moment on, UTC, counts.")] = None,
    looked_into: Annotated[
        str | None, typer.Option(help="Write in the log what was found; alarms until now then count no longer.")
    ] = None,
    by: By = None,
) -> None:
    """Has production moved since the bundle was calibrated? If so, the exit code is 1. For cron.

    An alarm counts until the bundle's thresholds are set anew, or until it was looked into.
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


def _password() -> str:
    """Never an argument: other users of the machine can read those."""
    if PASSWORD in os.environ:
        return os.environ[PASSWORD]
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    first = getpass("Password: ")
    if getpass("Once more: ") != first:
        raise typer.BadParameter("the two passwords differ; nothing was changed")
    return first


def me(by: str | None) -> str:
    """Who the log says it was."""
    try:
        return by or getuser()
    except (KeyError, OSError):  # a container's user without a name
        return "unknown"


def utc(moment: datetime | None) -> datetime | None:
    return None if moment is None else moment.replace(tzinfo=UTC)
