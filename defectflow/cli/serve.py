"""`defectflow serve`: pictures over HTTP in, verdicts out. `defectflow keys`: who may send them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.table import Table

from defectflow.cli.console import Json, command, err, out, print_json

keys_app = typer.Typer(name="keys", help="Which clients the service lets in.", no_args_is_help=True)

KeysPath = Annotated[Path, typer.Option("--keys", help="The keys file.")]
Name = Annotated[str, typer.Argument(help="The client's name, as the log shows it.")]
RoleName = Literal["viewer", "operator", "engineer"]


def serve(
    settings: Annotated[Path, typer.Argument(help="The service's settings, a YAML file.")],
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a setting, e.g. port=8200.")
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Open everything, load the active model, and end.")] = False,
) -> None:
    """Inspect pictures that arrive over HTTP. Every verdict is recorded before it is sent."""
    import fastapi  # noqa: F401  (first: without it the whole extra `serve` is missing, and not only its store)

    from defectflow.serve import Service, load_settings, run, try_camera

    wanted = load_settings(settings, set_ or [])
    if check:
        service = Service(wanted, trial=True)
        try:
            for name, camera in wanted.cameras.items():
                said = try_camera(name, camera, wanted.limits)
                out.print(f"camera {name}: {said}", markup=False, highlight=False, soft_wrap=True)
            out.print(f"ready: {service.check()} judges", markup=False, highlight=False, soft_wrap=True)
        finally:
            service.close()
        return

    def listening(address: str) -> None:
        if wanted.log == "text":  # nobody reads JSON lines at a terminal
            out.print(f"listening on {address}; stop it with Ctrl-C", markup=False, highlight=False, soft_wrap=True)

    run(wanted, listening=listening)


@command(keys_app, "add", "line1 --role operator --keys keys.yaml")
def add_client(name: Name, keys: KeysPath, role: Annotated[RoleName, typer.Option()] = "operator") -> None:
    """Let a client in, and print its key, once: the file keeps only a digest of it."""
    from defectflow.serve import add_key
    from defectflow.store import Role

    key = add_key(keys, name, Role(role))
    err.print(f"{name} is let in as {role}, by this key, which is shown only now:", markup=False, highlight=False)
    out.print(key, markup=False, highlight=False, soft_wrap=True)


@command(keys_app, "remove", "line1 --keys keys.yaml")
def remove_client(name: Name, keys: KeysPath) -> None:
    """Let a client in no more. A running service takes note at once."""
    from defectflow.serve import remove_key

    remove_key(keys, name)
    out.print(f"{name} is not let in any more.", markup=False, highlight=False)


@command(keys_app, "list", "--keys keys.yaml")
def list_clients(keys: KeysPath, json: Json = None) -> None:
    """List the clients and their roles."""
    from defectflow.serve import read_keys

    clients = read_keys(keys).clients
    if print_json(json, [{"client": name, "role": one.role, "since": one.since} for name, one in clients.items()]):
        return
    table = Table("client", "role", "since")
    for name, one in clients.items():
        table.add_row(name, one.role, one.since)
    out.print(table if clients else "no clients yet; add one: defectflow keys add NAME")


@command(keys_app, "secret", "mes.secret")
def new_secret(file: Annotated[Path, typer.Argument(help="Where to write it; nothing may lie there yet.")]) -> None:
    """Make the secret that signs what a webhook is sent. The receiver needs the same file."""
    from defectflow.serve import write_secret

    write_secret(file)
    out.print(f"{file}: a new secret; name it in the service's settings, and give it to the receiver", soft_wrap=True)
