"""The pages, in the order of their tabs. Each is a module with `words` (its module in words/) and `build(station)`."""

from __future__ import annotations

from types import ModuleType

from defectflow_ui.pages import calibrate, history, inspect, models, review, train

PAGES: tuple[ModuleType, ...] = (inspect, review, history, train, calibrate, models)
