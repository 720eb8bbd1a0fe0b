"""`defectflow sign` and `new-key`: tell a bundle from a forgery. Needs no torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from defectflow.cli.console import BundlePath, out

if TYPE_CHECKING:  # the runtime imports OpenCV and ONNX Runtime, for which --help should not wait
    from defectflow.bundle import Bundle, Family


def sign(
    bundle: BundlePath,
    key: Annotated[Path, typer.Option(help="Private key, an Ed25519 PEM file.")],
) -> None:
    """Sign a bundle, so that `verify --public-key` can tell it from a forgery. Sign again after each calibration."""
    from defectflow.bundle import open_bundle, open_family

    sign_bundle(open_family(bundle) or open_bundle(bundle), key)


def sign_bundle(bundle: Bundle | Family, key: Path) -> None:
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
