"""For whoever releases, installs or exchanges a bundle: describe, verify, diff, sign. Nothing here needs torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from defectflow.cli.console import (
    BundlePath,
    Core,
    Provider,
    PublicKey,
    Threads,
    err,
    out,
    progress_bars,
    show_failures,
)

if TYPE_CHECKING:  # the runtime imports OpenCV and ONNX Runtime, for which --help should not wait
    from defectflow.bundle import Bundle
    from defectflow.line import Certificate, Difference, Judged

FAILED, SOME_UNUSABLE = 1, 3
SHOWN = 200
"""Changed pictures that a terminal lists, at most; --json has all."""
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def describe(
    model: Annotated[Path, typer.Argument(help="A bundle, or a lone model.onnx out of one.")],
    json: Annotated[bool, typer.Option("--json", help="Print the whole card.")] = False,
) -> None:
    """Say what a bundle is, what it promises and what it was made from."""
    from defectflow.bundle import open_bundle, read_card

    lone = model.is_file()
    card = read_card(model) if lone else open_bundle(model).card
    if json:
        typer.echo(card.to_json(), nl=False)
        return
    table = Table(title=escape(card.name), show_header=False)
    table.add_row("made", card.created)
    table.add_row("bundle", card.bundle_id)
    table.add_row("calibration", card.calibration_id or "none")
    table.add_row(
        "parts", f"{card.parts.train} train, {card.parts.tune} tune, {len(card.calibration_parts)} calibration"
    )
    seen = f"seen at {card.image.size_px} x {card.image.size_px}, {card.image.aspect}"
    if card.image.tiling is not None:
        tile_px = card.recipe["image"]["tiling"]["tile"]
        seen = f"in {len(card.image.tiling)} tiles of {tile_px} px, each seen at {card.image.size_px} px"
    table.add_row("pictures", seen)
    table.add_row("backbone", str(card.recipe["embedding"]["backbone"]))
    if card.weights is not None:
        table.add_row("weights", f"{card.weights.name}, SHA-256 {card.weights.sha256}")
    table.add_row("precision", card.precision)
    table.add_row("flow", f"{card.recipe['flow']['family']}, base {card.recipe['flow'].get('base', 'normal')}")
    table.add_row("score", str(card.recipe["score"].get("kind", "likelihood")))
    if card.calibration is not None:
        table.add_row("threshold", f"{card.calibration.threshold.value:.4f}")
        table.add_row("review threshold", f"{card.calibration.review.value:.4f}")
    out.print(table)
    for sentence in card.guarantee():
        out.print(sentence, markup=False, highlight=False)
    for warning in card.warnings:
        out.print(f"note: {warning}", markup=False, highlight=False, soft_wrap=True)
    if lone:
        out.print("This is what the file says of itself. Only its whole bundle can be checked for damage.")


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
        typer.Option("--core/--no-core", help="Only model_core.onnx, or only model.onnx. By default both."),
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
    public_key: PublicKey = None,
    json: Json = False,
    threads: Threads = 0,
) -> None:
    """Certify that a bundle is intact and gives the recorded verdicts on this machine.

    Exit codes: 0 it does, 1 it does not, 2 wrong use, or a damaged or forged bundle.
    """
    if quick and certificate is not None:
        raise typer.BadParameter("--quick writes no certificate; leave it or --certificate out")
    from defectflow.bundle import open_bundle
    from defectflow.bundle.signature import check_signature
    from defectflow.data import find_pictures
    from defectflow.line import certificate_file
    from defectflow.line import verify as run_verify

    opened = open_bundle(bundle)
    with progress_bars() as watch:
        result = run_verify(
            opened,
            signed_by=None if public_key is None else check_signature(opened, public_key),
            providers=provider or (),
            core=core,
            images=[] if images is None else [picture.path for picture in find_pictures(images)],
            tolerance=tolerance,
            threads=threads,
            quick=quick,
            watch=watch,
        )
    if json:
        typer.echo(result.to_json(), nl=False)
    else:
        _show_certificate(result)
    if not quick:
        _write_certificate(result, certificate, certificate_file(opened))
    if not result.passed:
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


def _write_certificate(result: Certificate, told: Path | None, usual: Path) -> None:
    file = told or usual
    try:
        file.write_text(result.to_json(), encoding="utf-8")
    except OSError as error:
        if told is not None:
            raise
        # A line PC's disk may well be read-only, and the verdict is what was asked for.
        err.print(f"note: no certificate written, {file}: {error.strerror}; say where with --certificate", markup=False)
    else:
        err.print(f"Certificate: {file}", markup=False, highlight=False, soft_wrap=True)


def diff(
    old: Annotated[Path, typer.Argument(help="The bundle in use.")],
    new: Annotated[Path, typer.Argument(help="The one that may replace it: calibrated or fitted again, or converted.")],
    images: Annotated[Path, typer.Option(help="Pictures to judge with both.")],
    max_flips: Annotated[
        int | None, typer.Option(min=0, help="Exit with 1 if more verdicts change. By default any number may.")
    ] = None,
    json: Json = False,
    provider: Provider = "cpu",
    core: Core = False,
    threads: Threads = 0,
) -> None:
    """List every picture whose verdict changes from one bundle to another.

    Exit codes: 0 done, 1 more changes than --max-flips, 2 wrong use, 3 some pictures were unusable for both.
    """
    from defectflow.data import find_pictures
    from defectflow.line import Inspector, difference

    before, after = (Inspector(each, providers=[provider], threads=threads, core=core) for each in (old, new))
    pictures = [picture.path for picture in find_pictures(images)]
    with progress_bars() as watch:
        result = difference(before, after, pictures, watch)
    if json:
        typer.echo(result.to_json(), nl=False)
    else:
        _show_difference(result, images.resolve())
    if max_flips is not None and len(result.changes) > max_flips:
        err.print(f"[red]{len(result.changes)} verdicts change; allowed are {max_flips}.[/red]")
        raise typer.Exit(FAILED)
    if result.unusable:
        raise typer.Exit(SOME_UNUSABLE)


def _show_difference(result: Difference, folder: Path) -> None:
    if result.changes:
        table = Table(title="Changed verdicts")
        table.add_column("picture", overflow="fold")
        for column in ("old", "to defect / review", "new", "to defect / review"):
            table.add_column(column)
        for change in result.changes[:SHOWN]:
            table.add_row(escape(_short(change.picture, folder)), *_cells(change.old), *_cells(change.new))
        out.print(table)
        if len(result.changes) > SHOWN:
            out.print(f"and {len(result.changes) - SHOWN} more; --json lists all")
        out.print(
            "Margins are scores less thresholds, each in its own model's standard deviations of good scores: above 0 "
            "is over the threshold.",
            highlight=False,
        )
    counts = Table("verdict, old -> new", "pictures", title="All pictures")
    for verdicts, count in result.verdicts.items():
        counts.add_row(verdicts, str(count))
    out.print(counts)
    show_failures([(name, "neither bundle can use it") for name in result.unusable])
    out.print(f"{len(result.changes)} of {result.pictures} verdicts change.", highlight=False)


def _short(picture: str, folder: Path) -> str:
    path = Path(picture)
    return str(path.relative_to(folder)) if path != folder and path.is_relative_to(folder) else picture


def _cells(judged: Judged) -> tuple[str, str]:
    if judged.to_threshold is None or judged.to_review is None or judged.to_gate is None:
        return judged.decision, "-"
    if judged.decision == "invalid":
        return judged.decision, f"{judged.to_gate:.2f} of the gate's limit"
    return judged.decision, f"{judged.to_threshold:+.2f} / {judged.to_review:+.2f}"


def sign(
    bundle: BundlePath,
    key: Annotated[Path, typer.Option(help="Private key, an Ed25519 PEM file.")],
) -> None:
    """Sign a bundle, so that `verify --public-key` can tell it from a forgery. Sign again after each calibration."""
    from defectflow.bundle import open_bundle

    sign_bundle(open_bundle(bundle), key)


def sign_bundle(bundle: Bundle, key: Path) -> None:
    """Sign, asking for the key's passphrase where it has one."""
    from defectflow.bundle.signature import is_encrypted
    from defectflow.bundle.signature import sign as run_sign

    passphrase = typer.prompt("Passphrase", hide_input=True, err=True) if is_encrypted(key) else None
    out.print(f"Signed by key {run_sign(bundle, key, passphrase)[:16]}", highlight=False)


def new_key(
    private: Annotated[Path, typer.Argument(help="The private key's file, e.g. release.pem; keep it secret.")],
) -> None:
    """Make a pair of keys to sign bundles with."""
    from defectflow.bundle.signature import write_keys

    public = write_keys(private)
    out.print(f"Private key: {private} (keep it secret; whoever has it can sign)", markup=False, soft_wrap=True)
    out.print(f"Public key: {public} (give it to every line)", markup=False, soft_wrap=True)
