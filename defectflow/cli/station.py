"""`defectflow ui`: start the inspection station."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from defectflow.cli.console import Core, Provider, err, out


def ui(
    bundles: Annotated[Path, typer.Argument(help="The folder that holds your bundles, or one bundle.")] = Path(
        "models"
    ),
    host: Annotated[str, typer.Option(help="Address to listen on. Any but this machine's own requires users.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 7860,
    store: Annotated[
        str | None, typer.Option(help="File or URL of the store; by default inspections.db in the bundles' folder.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Folder below which engineers may choose pictures to learn from.")
    ] = None,
    provider: Provider = "cpu",
    core: Core = False,
    tls_cert: Annotated[Path | None, typer.Option(help="Certificate (PEM), to serve https.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="The certificate's private key (PEM).")] = None,
) -> None:
    """Start the inspection station: inspect pictures, review verdicts and manage models in the browser."""
    import gradio  # noqa: F401  (first: without it the whole extra `ui` is missing, and not only its store)
    from defectflow_ui.settings import Settings
    from defectflow_ui.start import open_station
    from defectflow_ui.web.server import build, run
    from defectflow_ui.words import start as words

    from defectflow.line import find_providers

    find_providers([provider])  # at the start, and not at the first picture
    settings = Settings(bundles, host, port, store, data=data, provider=provider, core=core)
    app = build(open_station(settings))
    if not settings.local and tls_cert is None:
        err.print(words.plain_http, markup=False, highlight=False)
    scheme = "http" if tls_cert is None else "https"
    out.print(words.listening(f"{scheme}://{host}:{port}"), markup=False, highlight=False, soft_wrap=True)
    run(app, host, port, tls_cert, tls_key)
