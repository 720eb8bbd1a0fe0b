"""`defectflow`: the commands, and what happens when something goes wrong."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

import typer

from defectflow import __version__
from defectflow.cli import (
    cost,
    describe,
    diff,
    doctor,
    export,
    first_look,
    fit_many,
    golden,
    line,
    log,
    serve,
    sign,
    station,
    study,
    train,
    users,
    verify,
    versions,
)
from defectflow.cli.console import command, err, out
from defectflow.common import are_limited, usable_cores
from defectflow.errors import DefectFlowError

WRONG_USE, INTERRUPTED = 2, 130
EXTRAS = {
    "train": ("torch", "timm", "sklearn", "scipy", "safetensors", "onnxscript"),
    "store": ("sqlalchemy", "alembic", "argon2"),
    "serve": ("psycopg", "fastapi", "uvicorn", "prometheus_client", "httpx"),
    "opcua": ("asyncua",),
    "sign": ("cryptography",),
    "ui": ("gradio", "defectflow_ui"),
    "ray": ("ray", "fsspec", "pyarrow"),
}
"""What each of the package's extras brings."""

app = typer.Typer(
    name="defectflow",
    help="From a folder of good parts to verdicts that can be trusted on a line.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
for panel, name, function, examples in (
    (
        "Model",
        "check-data",
        train.check_data,
        ["good/", r"good/ --part-regex '(part\d+)' --json check.json"],
    ),
    (
        "Model",
        "fit",
        train.fit,
        [
            "good/ --out models/bracket",
            "good/ --out models/bracket --set image.size=384",
            "washer/ --add-to models/line --product washer",
        ],
    ),
    ("Model", "fit-many", fit_many.fit_many, ["plan.yaml --out models/", "plan.yaml --ray head:6379 --resume"]),
    ("Model", "evaluate", train.evaluate, ["models/bracket --data testset/"]),
    ("Model", "recipes", first_look.recipes, [""]),
    ("Model", "demo-data", first_look.demo_data, ["demo/data --product fabric"]),
    ("Model", "doctor", doctor.doctor, ["models/bracket"]),
    ("Model", "draw", doctor.draw, ["models/bracket --out drawn.npz"]),
    ("Model", "pretrain", train.pretrain, ["mine.safetensors --photos photos/"]),
    (
        "Line",
        "score",
        line.score,
        [
            "models/bracket incoming/ --out results/ --store inspections.db",
            "models/bracket s3://archive/line3 --out results/ --ray head:6379",
        ],
    ),
    ("Line", "report", line.report, ["results/"]),
    ("Line", "calibrate", line.calibrate, ["models/bracket --false-reject-rate 0.05 --good more_good/"]),
    (
        "Line",
        "cost",
        cost.cost,
        [
            "models/bracket --data testset/ --escape 50 --defective-share 0.01",
            "models/bracket --data testset/ --escape 50 --review 0.3 --defective-share 0.01",
        ],
    ),
    (
        "Line",
        "golden",
        golden.golden,
        [
            "models/bracket masters/ --register --store inspections.db",
            "models/bracket shift/ --store inspections.db",
            "models/bracket --store inspections.db --within 8 --report golden.html",
        ],
    ),
    ("Line", "ui", station.ui, ["models/"]),
    ("Line", "serve", serve.serve, ["serve.yaml", "serve.yaml --set port=8200 --check"]),
    ("Release", "describe", describe.describe, ["models/bracket"]),
    ("Release", "verify", verify.verify, ["models/bracket --images own/"]),
    ("Release", "diff", diff.diff, ["models/old models/new --images own/"]),
    ("Release", "export", export.export, ["models/bracket models/bracket-fp16 --precision fp16 --data good/"]),
    ("Release", "sign", sign.sign, ["models/bracket --key release.pem"]),
    ("Release", "new-key", sign.new_key, ["release.pem"]),
):
    command(app, name, *examples, panel=panel)(function)
app.add_typer(study.study_app, rich_help_panel="Release")
for group in (users.users_app, serve.keys_app, log.log_app, versions.versions_app):
    app.add_typer(group, rich_help_panel="Records")


def _version(wanted: bool) -> None:
    if wanted:
        out.print(__version__)
        raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    pass


def main() -> None:
    """Run a command; a known error becomes a message and exit code 2, never a stack trace."""
    _share_the_machine()
    try:
        app()
    except SystemExit as end:
        if end.code == INTERRUPTED:  # typer turns Ctrl-C into this
            err.print(
                "stopped; what was done is kept. Run fit, fit-many, score or pretrain again with --resume to continue"
            )
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


def _share_the_machine() -> None:
    """Threads of OpenMP, which torch uses, sleep while they wait, and are as many as there are cores for this process.

    Read when torch is loaded, so set before. What the caller's environment says stands.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if are_limited():
        os.environ.setdefault("OMP_NUM_THREADS", str(usable_cores()))


def _refuse(reason: str) -> NoReturn:
    err.print(f"error: {reason}", style="red", markup=False, highlight=False, soft_wrap=True)
    sys.exit(WRONG_USE)
