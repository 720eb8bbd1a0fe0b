"""`defectflow`: the commands, and what happens when something goes wrong."""

from __future__ import annotations

import sys
from typing import NoReturn

import typer

from defectflow import __version__
from defectflow.cli import admin, export, line, records, release, station, train, versions
from defectflow.cli.console import err, out
from defectflow.errors import DefectFlowError

WRONG_USE, INTERRUPTED = 2, 130
EXTRAS = {
    "train": ("torch", "timm", "sklearn", "scipy", "safetensors", "onnxscript"),
    "store": ("sqlalchemy", "alembic", "argon2"),
    "serve": ("psycopg",),
    "sign": ("cryptography",),
    "ui": ("gradio", "defectflow_ui"),
}
"""What each of the package's extras brings."""

app = typer.Typer(
    name="defectflow",
    help="From a folder of good parts to verdicts that can be trusted on a line.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
for command in (train.fit, train.evaluate, line.score, line.report, line.calibrate):
    app.command()(command)
app.command("check-data")(train.check_data)
app.command()(release.verify)
app.command()(release.describe)
app.command()(release.diff)
app.command()(release.sign)
app.command("new-key")(release.new_key)
app.command("demo-data")(admin.demo_data)
app.command()(admin.recipes)
app.command()(train.doctor)
app.command()(train.draw)
app.command()(train.pretrain)
app.command()(export.export)
app.command()(station.ui)
app.add_typer(records.users_app)
app.add_typer(records.log_app)
app.add_typer(versions.versions_app)


def _version(wanted: bool) -> None:
    if wanted:
        out.print(__version__)
        raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Say the version."),
) -> None:
    pass


def main() -> None:
    """Run a command; a known error becomes a message and exit code 2, never a stack trace."""
    try:
        app()
    except SystemExit as end:
        if end.code == INTERRUPTED:  # typer turns Ctrl-C into this
            err.print("stopped; what was done is kept: fit, score and pretrain go on with --resume")
        raise
    except DefectFlowError as error:
        _refuse(str(error))
    except OSError as error:  # a full disk, a folder without permission: nothing that a stack trace explains
        _refuse(f"{error.filename or 'the system'}: {error.strerror or error}")
    except ModuleNotFoundError as error:
        extra = next((extra for extra, modules in EXTRAS.items() if error.name in modules), None)
        if extra is None:
            raise
        _refuse(
            f"this command needs {error.name}, which the line's install leaves out: pip install 'defectflow[{extra}]'"
        )


def _refuse(reason: str) -> NoReturn:
    err.print(f"error: {reason}", style="red", markup=False, highlight=False, soft_wrap=True)
    sys.exit(WRONG_USE)
