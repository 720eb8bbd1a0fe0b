"""Whether what triggers inspections may do so. What is sent with its picture is always inspected."""

from __future__ import annotations

import logging

log = logging.getLogger(__name__)


class SwitchedOff(Exception):  # noqa: N818  (the state is the message)
    """Somebody has switched triggers off."""


class Switch:
    """On at the start. Safe to use from several threads."""

    def __init__(self) -> None:
        self._by: str | None = None

    @property
    def on(self) -> bool:
        return self._by is None

    def turn(self, *, on: bool, by: str) -> None:
        if on != self.on:
            log.warning("inspections by trigger are switched %s by %s", "on" if on else "off", by)
        self._by = None if on else by

    def require(self) -> None:
        """Raises SwitchedOff."""
        by = self._by
        if by is not None:
            raise SwitchedOff(f"inspections by trigger are switched off, by {by}; write true to Enabled over OPC UA")
