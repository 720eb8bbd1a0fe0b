"""Words of the command `defectflow ui`."""

from __future__ import annotations

from pathlib import Path

station = "station"
"""Who the log says it was where nobody asked for it."""


def listening(url: str) -> str:
    return f"The inspection station is at {url}  (Ctrl-C stops it)"


def needs_users(host: str, store: str) -> str:
    return (
        f"--host {host} lets other machines in, and there are no users yet; add one first: "
        f"defectflow users add NAME --role engineer --store {store}, or stay with --host 127.0.0.1"
    )


def no_folder(folder: Path) -> str:
    return (
        f"{folder}: there is no such folder, and it cannot be made; give the folder that holds your trained models "
        "(bundles, each a folder of its own), or one to be made in a folder that exists"
    )


plain_http = (
    "note: passwords and pictures travel unencrypted; give --tls-cert and --tls-key, or put a proxy with TLS in front"
)


def no_data_folder(folder: Path) -> str:
    return f"{folder}: no such folder; give the one that holds your pictures with --data, or leave it out"
