"""The content security policy: what a page of the station may load and run."""

from __future__ import annotations

import base64
import hashlib
import re

SCRIPT = re.compile(rb"<script(?![^>]*\ssrc=)[^>]*>(.*?)</script>", re.DOTALL | re.IGNORECASE)
REST = (
    "default-src 'self'; img-src 'self' data: blob:; "
    # Gradio lays out by style attributes, and adds the style sheets of its components to the page.
    "style-src 'self' 'unsafe-inline'; "
    "font-src 'self' data:; connect-src 'self'; worker-src 'self' blob:; media-src 'self' blob:; object-src 'none'; "
    "base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
)


def policy(page: bytes = b"") -> str:
    """For an answer of this content: no inline script runs, and no inline handler, but for those that it came with.

    Gradio 6 needs two exceptions. It writes its configuration and its start into the page as inline scripts: each is
    named here by its hash, so no other one runs. And gr.HTML makes functions of its template and of `js_on_load`, in
    which the station's events begin: 'unsafe-eval'. Both are written here; what a page shows only fills the template's
    `${value}`, and is never compiled.
    """
    hashes = [base64.b64encode(hashlib.sha256(script).digest()).decode() for script in SCRIPT.findall(page)]
    sources = ["'self'", "'unsafe-eval'", *(f"'sha256-{one}'" for one in hashes)]
    return f"script-src {' '.join(sources)}; {REST}"
