"""`defectflow users`: who may sign in to the inspection station."""

from __future__ import annotations

import os
import sys
from getpass import getpass
from typing import Annotated, Literal

import typer
from rich.table import Table

from defectflow.cli.console import Json, command, out, print_json
from defectflow.cli.store_options import By, StoreUrl, me

PASSWORD = "DEFECTFLOW_PASSWORD"

users_app = typer.Typer(name="users", help="Who may sign in to the inspection station.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="The user's name.")]
RoleName = Literal["viewer", "operator", "engineer"]


@command(users_app, "add", "mara --role operator --store inspections.db")
def add_user(name: Name, store: StoreUrl, role: Annotated[RoleName, typer.Option()] = "viewer", by: By = None) -> None:
    """Add a user. The password is asked for, or read from standard input or DEFECTFLOW_PASSWORD."""
    from defectflow.store import Role, Store

    with Store.open(store) as opened:
        user = opened.users.add(name, Role(role), _password(), by=me(by))
    out.print(f"{user.name} may sign in as {user.role}.", markup=False, highlight=False)


@command(users_app, "remove", "mara --store inspections.db")
def remove_user(name: Name, store: StoreUrl, by: By = None) -> None:
    """Remove a user. What they wrote stays in the log."""
    from defectflow.store import Store

    with Store.open(store, create=False) as opened:
        opened.users.remove(name, by=me(by))
    out.print(f"{name} may no longer sign in.", markup=False, highlight=False)


@command(users_app, "role", "mara engineer --store inspections.db")
def change_role(
    name: Name, role: Annotated[RoleName, typer.Argument(help="The new role.")], store: StoreUrl, by: By = None
) -> None:
    """Change a user's role: viewer (looks), operator (also inspects, answers) or engineer (also trains, calibrates)."""
    from defectflow.store import Role, Store

    with Store.open(store, create=False) as opened:
        user = opened.users.set_role(name, Role(role), by=me(by))
    out.print(f"{user.name} is {user.role} now.", markup=False, highlight=False)


@command(users_app, "password", "mara --store inspections.db")
def change_password(name: Name, store: StoreUrl, by: By = None) -> None:
    """Set a new password. This also ends the wait after wrong attempts."""
    from defectflow.store import Store

    with Store.open(store, create=False) as opened:
        opened.users.set_password(name, _password(), by=me(by))
    out.print(f"{name} has a new password.", markup=False, highlight=False)


@command(users_app, "list", "--store inspections.db")
def list_users(store: StoreUrl, json: Json = None) -> None:
    """List the users and their roles."""
    from defectflow.store import Store

    with Store.open(store, create=False) as opened:
        users = opened.users.all()
    rows = [{"user": user.name, "role": user.role, "since": user.since.isoformat()} for user in users]
    if print_json(json, rows):
        return
    table = Table("user", "role", "since")
    for user in users:
        table.add_row(user.name, user.role, f"{user.since:%Y-%m-%d %H:%M} UTC")
    out.print(table if users else "no users yet; add one: defectflow users add NAME")


def _password() -> str:
    """Never an argument: other users of the machine can read those."""
    if PASSWORD in os.environ:
        return os.environ[PASSWORD]
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    first = getpass("Password: ")
    if getpass("Repeat the password: ") != first:
        raise typer.BadParameter("the two passwords differ; nothing was changed")
    return first
