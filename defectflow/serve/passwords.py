"""A password's file -> the password."""

from __future__ import annotations

from pathlib import Path

from defectflow.errors import SettingsError


def read_password(file: Path, setting: str) -> str:
    """The text of a file, without the line's end. Raises SettingsError that names the setting."""
    try:
        return file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{setting}: {file} cannot be read ({error}); name a text file") from error
