"""DefectFlow: from a folder of good parts to verdicts that can be trusted on a line.

    from defectflow import fit

    model = fit("good/")                # learn from pictures of good parts
    verdict = model.inspect("a.png")    # ok, review, defect or invalid; in a notebook, it shows itself
    model.save("models/bracket")        # one ONNX file and what belongs to it

On the line, without torch: `Inspector("models/bracket").inspect(paths)`.

What `__all__` names is the public interface; docs/api.md says what may change in it. Packages named after the data path
hold the rest: recipe, data, image, embedding, flows, density, score, verdict, bundle, line, and beside them gauge,
fitting, export, convert, evaluation, store, serve, samples, pretraining, scale and cli. `errors` draws all errors.
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING

# ONNX Runtime's packages report to their maker over the network, and keep an identifier of the machine in the user's
# folder, unless this is set before they are loaded. A line PC reports to nobody; whoever wants it sets it to 0.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # and so does Ray

__version__ = "0.1.0"
__all__ = ["Inspector", "Model", "Verdict", "evaluate", "fit", "load_recipe", "open_bundle"]

if TYPE_CHECKING:
    from defectflow.bundle import open_bundle
    from defectflow.line import Inspector
    from defectflow.notebook import Model, evaluate, fit
    from defectflow.recipe import load_recipe
    from defectflow.verdict import Verdict
else:  # each name loads its package only when it is asked for: the line never loads what training needs (PEP 562)
    _HOMES = {
        "Inspector": "line",
        "Model": "notebook",
        "Verdict": "verdict",
        "evaluate": "notebook",
        "fit": "notebook",
        "load_recipe": "recipe",
        "open_bundle": "bundle",
    }

    def __getattr__(name: str) -> object:
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
