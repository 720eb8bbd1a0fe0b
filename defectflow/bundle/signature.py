"""Who released this bundle? A detached Ed25519 signature of card.json, which holds the checksum of everything else.

Checksums stop damage: whoever alters a file on purpose can write new ones. A signature stops forgery: it cannot be
written without the private key, and whoever has the public key can tell. What is signed are the bytes of card.json,
so that OpenSSL alone can check them too. Each calibration writes another card, which has to be signed again.

Source: RFC 8032 (Ed25519), through the `cryptography` package.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from defectflow.bundle.bundle import Bundle
from defectflow.bundle.family import Family
from defectflow.bundle.files import CARD, SIGNATURE
from defectflow.errors import BundleError, SettingsError

if TYPE_CHECKING:  # of an extra; the line's install does without unless it checks signatures
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey


def write_keys(private: Path) -> Path:
    """A new key pair: `private` (PEM, PKCS #8) and, beside it, the public key to hand out, whose path is returned.

    Raises SettingsError if either file exists: a private key that is overwritten is lost.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

    public = private.with_suffix(".pub.pem")
    for file in (private, public):
        if file.exists():
            raise SettingsError(f"{file}: exists already, and keys are never overwritten; choose another name")
    key = Ed25519PrivateKey.generate()
    private.touch(mode=0o600)  # before there is a secret in it
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return public


def sign(bundle: Bundle | Family, private: Path, passphrase: str | None = None) -> str:
    """Write the signature of the bundle's card beside it; returns the key's fingerprint.

    Of several products the one card that holds the checksums of all is signed.

    Raises SettingsError for a file that is no such key, or whose passphrase is another.
    """
    key = _private_key(private, passphrase)
    home = _home(bundle)
    (home / SIGNATURE).write_bytes(key.sign((home / CARD).read_bytes()))
    return _fingerprint(key.public_key())


def check_signature(bundle: Bundle | Family, public: Path) -> str:
    """Returns the fingerprint of the key that signed the bundle. Raises BundleError unless it is `public`."""
    from cryptography.exceptions import InvalidSignature

    key = _public_key(public)
    file = _home(bundle) / SIGNATURE
    if not file.is_file():
        raise BundleError(
            f"{file.parent}: is not signed (it has no {SIGNATURE}); ask whoever released it for a signed copy"
        )
    try:
        key.verify(file.read_bytes(), (file.parent / CARD).read_bytes())
    except InvalidSignature:
        raise BundleError(
            f"{file}: is not the signature of this card by {public}. The bundle was calibrated or altered since it was "
            "signed, or somebody else has signed it: do not use it. If you calibrated it yourself, sign it again: "
            "defectflow sign BUNDLE --key KEY"
        ) from None
    return _fingerprint(key)


def _home(bundle: Bundle | Family) -> Path:
    return bundle.home if isinstance(bundle, Bundle) else bundle.path


def is_encrypted(private: Path) -> bool:
    """Whether a private key needs a passphrase."""
    return b"ENCRYPTED" in _read(private)


def _private_key(file: Path, passphrase: str | None) -> Ed25519PrivateKey:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(_read(file), None if passphrase is None else passphrase.encode())
    except (ValueError, TypeError) as error:  # not PEM, damaged, or a passphrase that is missing or wrong
        raise SettingsError(f"{file}: cannot be read as a private key in PEM form ({error})") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise SettingsError(f"{file}: is a key of another kind than Ed25519; make one with defectflow new-key")
    return key


def _public_key(file: Path) -> Ed25519PublicKey:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        key = load_pem_public_key(_read(file))
    except ValueError as error:
        raise SettingsError(f"{file}: cannot be read as a public key in PEM form ({error})") from error
    if not isinstance(key, Ed25519PublicKey):
        raise SettingsError(f"{file}: is a key of another kind than Ed25519")
    return key


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise SettingsError(f"{file}: cannot be read ({error.strerror or error})") from error


def _fingerprint(key: Ed25519PublicKey) -> str:
    """SHA-256 of the key's 32 bytes, in hex: short enough to be read out on the telephone by its beginning."""
    return hashlib.sha256(key.public_bytes_raw()).hexdigest()
