"""`defectflow verify`: is a bundle intact, and does it give the recorded verdicts here? Needs no torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from defectflow.cli.console import (
    STANDARD_OUTPUT,
    BundlePath,
    Json,
    Product,
    PublicKey,
    Threads,
    err,
    out,
    print_json,
    progress_bars,
)

if TYPE_CHECKING:  # the runtime imports OpenCV and ONNX Runtime, for which --help should not wait
    from defectflow.line import Certificate

FAILED = 1


def verify(
    bundle: BundlePath,
    images: Annotated[
        Path | None, typer.Option(help="Your own pictures: every way to run the model is compared on them, too.")
    ] = None,
    provider: Annotated[
        list[str] | None,
        typer.Option(help="Execution provider, e.g. cpu, cuda, openvino. Repeatable. By default all that are present."),
    ] = None,
    core: Annotated[
        bool | None,
        typer.Option(
            "--core/--no-core",
            help="Only the graph's core (behind the resize), or only the whole graph. By default both.",
        ),
    ] = None,
    tolerance: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="Largest difference of scores, in standard deviations of good ones. By default 0.001, for int8 0.02.",
        ),
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="For health checks: each golden picture once. Writes no certificate.")
    ] = False,
    certificate: Annotated[
        Path | None, typer.Option(help="The certificate's file; by default BUNDLE.certificate.json.")
    ] = None,
    product: Product = None,
    public_key: PublicKey = None,
    json: Json = None,
    threads: Threads = 0,
) -> None:
    """Certify that a bundle is intact and gives the recorded verdicts on this machine; of several products, each.

    Exit codes: 0 it does, 1 it does not, 2 wrong use, or a damaged or forged bundle.
    """
    if quick and certificate is not None:
        raise typer.BadParameter("--quick writes no certificate; leave it or --certificate out")
    from defectflow.bundle import bundles_of, open_bundle, open_family
    from defectflow.bundle.signature import check_signature
    from defectflow.data import look_through
    from defectflow.line import certificate_file
    from defectflow.line import verify as run_verify

    family = open_family(bundle)
    if family is None:
        opened = [open_bundle(bundle)]
    else:
        wanted = range(len(family.names)) if product is None else [family.number(product)]
        opened = [bundles_of(family)[number] for number in wanted]
    if certificate is not None and len(opened) > 1:
        raise typer.BadParameter(
            "--certificate names one file, and each product has its own; leave it out, or give --product"
        )
    signed_by = None if public_key is None else check_signature(family or opened[0], public_key)
    shown = [] if images is None else look_through(images).pictures
    results = []
    for each in opened:
        with progress_bars() as watch:
            result = run_verify(
                each,
                signed_by=signed_by,
                providers=provider or (),
                core=core,
                images=[one.path for one in shown if each.product is None or one.product in (None, each.product)],
                tolerance=tolerance,
                threads=threads,
                quick=quick,
                watch=watch,
            )
        results.append(result)
        if json != STANDARD_OUTPUT:
            _show_certificate(result)
        if not quick:
            _write_certificate(result, certificate, certificate_file(each))
    trees = {str(each.product): result.model_dump(mode="json") for each, result in zip(opened, results, strict=True)}
    print_json(json, results[0].to_json() if family is None else trees)
    if not all(result.passed for result in results):
        raise typer.Exit(FAILED)


def _show_certificate(result: Certificate) -> None:
    machine = result.machine
    out.print(
        f"{result.bundle} ({result.precision}) on {machine.name}: {machine.cpu}, {machine.cores} cores, "
        f"{machine.system}",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
    signed = "not checked" if result.signed_by is None else f"by key {result.signed_by[:16]}"
    out.print(f"{len(result.checksums)} files have the right checksum; signature: {signed}", highlight=False)
    table = Table(title="Verdicts here, against the calibrated model")
    table.add_column("run by", overflow="fold")
    # 80 columns wide, which is all that some consoles have.
    for column in ("pictures", "flips", "borderline", "max\ndiff", "mean\ndiff", "map\ncorr.", "p95\nms"):
        table.add_column(column, justify="right", no_wrap=True)
    for row in result.comparisons:
        table.add_row(
            escape(row.backend),
            f"{row.pictures} {'golden' if row.source == 'golden' else 'yours'}",
            f"[red]{row.flips}[/red]" if row.flips else "0",
            str(row.borderline),
            f"{row.largest_difference:.0e}",
            f"{row.mean_difference:.0e}",
            f"{row.map_correlation:.5f}",
            "-" if row.p95_ms is None else f"{row.p95_ms:.0f}",
        )
    out.print(table)
    out.print(
        f"Differences are of scores, in standard deviations of good ones; the tolerance is {result.tolerance:g}. "
        "Borderline pictures lie that near a threshold. The time is from file to verdict; 95% take at most this.",
        markup=False,
        highlight=False,
    )
    refused = sum(row.refused for row in result.comparisons if row.source == "images")
    if refused:
        out.print(
            f"{refused} of your pictures cannot be read; they are in the count, and refused by all.", highlight=False
        )
    for note in result.notes:
        err.print(f"note: {note}", markup=False, highlight=False, soft_wrap=True)
    for problem in result.problems:
        err.print(f"problem: {problem}", style="red", markup=False, highlight=False, soft_wrap=True)
    if result.passed:
        out.print("[green]Passed:[/green] the bundle is intact and gives the recorded verdicts on this machine.")
    else:
        err.print("[red]Failed: do not use the bundle on this machine.[/red]")


def _write_certificate(result: Certificate, chosen: Path | None, usual: Path) -> None:
    file = chosen or usual
    try:
        file.write_text(result.to_json(), encoding="utf-8")
    except OSError as error:
        if chosen is not None:
            raise
        # A line PC's disk may well be read-only, and the verdict is what was asked for.
        err.print(f"note: no certificate written, {file}: {error.strerror}; say where with --certificate", markup=False)
    else:
        err.print(f"Certificate: {file}", markup=False, highlight=False, soft_wrap=True)
