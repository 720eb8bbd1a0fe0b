"""The words of decisions."""

from __future__ import annotations

from defectflow_ui.language import Lazily

VERDICTS = Lazily(
    {
        "ok": ("OK", "Looks like the good parts it was calibrated on."),
        "review": ("Review", "More unusual than most good parts: a person should look."),
        "defect": ("Defect", "More unusual than the threshold allows."),
        "invalid": ("Invalid", "Too unusual to judge: a gross defect or a wrong picture."),
        "error": ("Unreadable", "This file could not be used as a picture."),
    }
)
"""Decision -> its word on the badge, and its explanation."""
