"""A signature must hold for its own bundle and key only, and say what to do where it does not."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from defectflow.bundle.bundle import open_bundle
from defectflow.bundle.files import seal
from defectflow.bundle.signature import check_signature, is_encrypted, sign, write_keys
from defectflow.errors import BundleError, SettingsError
from defectflow.line.recalibrate import recalibrate


@pytest.fixture
def private(tmp_path: Path) -> Path:
    write_keys(tmp_path / "release.pem")
    return tmp_path / "release.pem"


def test_a_signed_bundle_is_known_by_its_key(bundle_copy: Path, private: Path) -> None:
    public = private.with_suffix(".pub.pem")
    bundle = open_bundle(bundle_copy)
    with pytest.raises(BundleError, match="is not signed"):
        check_signature(bundle, public)
    fingerprint = sign(bundle, private)
    assert check_signature(open_bundle(bundle_copy), public) == fingerprint
    if sys.platform != "win32":
        assert private.stat().st_mode & 0o077 == 0, "nobody else may read it"


def test_a_forger_can_write_checksums_but_no_signature(bundle_copy: Path, private: Path) -> None:
    """All checksums are right after the forgery: only the signature tells."""
    sign(open_bundle(bundle_copy), private)
    file = bundle_copy / "card.json"
    said = json.loads(file.read_text())
    said["good_spread"] *= 100  # whereupon every difference would be small
    said["checksums"]["card.json"] = seal(json.dumps(said))
    file.write_text(json.dumps(said))
    forged = open_bundle(bundle_copy)
    with pytest.raises(BundleError, match="is not the signature of this card"):
        check_signature(forged, private.with_suffix(".pub.pem"))


def test_another_key_is_another_signer(bundle_copy: Path, private: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.pem"
    write_keys(other)
    bundle = open_bundle(bundle_copy)
    sign(bundle, other)
    with pytest.raises(BundleError, match="somebody else has signed it"):
        check_signature(bundle, private.with_suffix(".pub.pem"))


def test_each_calibration_has_to_be_signed(bundle_copy: Path, private: Path) -> None:
    sign(open_bundle(bundle_copy), private)
    bundle = recalibrate(open_bundle(bundle_copy), rate=0.2, guarantee="expected", review_rate=0.4)
    with pytest.raises(BundleError, match=r"calibrated or altered since .*sign it again: defectflow sign"):
        check_signature(bundle, private.with_suffix(".pub.pem"))
    sign(bundle, private)
    assert check_signature(bundle, private.with_suffix(".pub.pem"))


def test_keys_are_never_overwritten(private: Path) -> None:
    before = private.read_bytes()
    with pytest.raises(SettingsError, match=r"release\.pem: exists already"):
        write_keys(private)
    private.unlink()
    with pytest.raises(SettingsError, match=r"release\.pub\.pem: exists already"):
        write_keys(private)
    assert not private.exists()
    assert before


def test_keys_with_a_passphrase(bundle_copy: Path, private: Path, tmp_path: Path) -> None:
    key = Ed25519PrivateKey.generate()
    secret, public = tmp_path / "secret.pem", tmp_path / "public.pem"
    secret.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"open sesame")))
    public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    assert is_encrypted(secret)
    assert not is_encrypted(private)
    bundle = open_bundle(bundle_copy)
    for wrong in (None, "sesame"):
        with pytest.raises(SettingsError, match=r"secret\.pem: cannot be read"):
            sign(bundle, secret, wrong)
    assert sign(bundle, secret, "open sesame") == check_signature(bundle, public)


def test_files_that_are_no_such_key(bundle_copy: Path, private: Path, tmp_path: Path) -> None:
    bundle, public = open_bundle(bundle_copy), private.with_suffix(".pub.pem")
    sign(bundle, private)
    other_kind = rsa.generate_private_key(65537, 2048)
    file = tmp_path / "rsa.pem"
    file.write_bytes(other_kind.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    with pytest.raises(SettingsError, match="another kind than Ed25519"):
        sign(bundle, file)
    with pytest.raises(SettingsError, match="cannot be read as a private key"):
        sign(bundle, public)
    with pytest.raises(SettingsError, match="cannot be read as a public key"):
        check_signature(bundle, private)
    with pytest.raises(SettingsError, match=r"gone\.pem: cannot be read"):
        check_signature(bundle, tmp_path / "gone.pem")
    (bundle_copy / "card.json.sig").write_bytes(b"short")
    with pytest.raises(BundleError, match="is not the signature"):
        check_signature(bundle, public)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the openssl command")
def test_openssl_alone_can_check_it(bundle_copy: Path, private: Path) -> None:
    """What the documentation promises to those who have no Python on the line."""
    sign(open_bundle(bundle_copy), private)
    command = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", str(private.with_suffix(".pub.pem")), "-rawin"]
    command += ["-in", str(bundle_copy / "card.json"), "-sigfile", str(bundle_copy / "card.json.sig")]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    with (bundle_copy / "card.json").open("a") as card:
        card.write(" ")
    assert subprocess.run(command, capture_output=True, check=False).returncode != 0
