"""A model of several products, asked over HTTP: by name, by what a picture resembles, and by a name that it lacks."""

from __future__ import annotations

from pathlib import Path

import pytest
from serving import Serve
from support import Cli, join_products

from defectflow.bundle import open_bundle
from defectflow.errors import ServiceError


def test_products_over_http(serve: Serve, models: Path, pictures: list[Path], cli: Cli) -> None:
    serving = serve()
    parts = {"left": models / "bracket", "right": models / "strict"}  # one fit, with other thresholds
    join_products(serving.folder / "models" / "line", parts)
    limits = {name: open_bundle(path).card.require_calibration().threshold.value for name, path in parts.items()}
    with serving.client() as client:
        for name, limit in limits.items():
            (found,) = client.inspect(pictures[0], model="line", product=name, part="7").inspections
            assert (found.product, found.model) == (name, f"line/{name}")
            assert found.threshold == pytest.approx(limit)
        (nearest,) = client.inspect(pictures[0], model="line", part="7").inspections
        assert nearest.product == "left", "of two that are as near, the first"
        assert {one.product for one in client.part("7")} == {"left", "right"}
        for model, said in (("line", "it has left, right"), ("bracket", "judges one product only")):
            with pytest.raises(ServiceError, match=said) as refused:
                client.inspect(pictures[0], model=model, product="middle")
            assert refused.value.status == 422
    with serving.http() as http:
        (line,) = [model for model in http.get("/v1/models").json() if model["name"] == "line"]
        assert [product["name"] for product in line["products"]] == ["left", "right"]
        words = ("--store", serving.folder / "inspections.db", "--reason", "all products")
        assert cli("versions", "activate", serving.folder / "models" / "line", *words).code == 0
        active = {model["name"]: model["active"] for model in http.get("/v1/models").json()}
        assert active == {"bracket": False, "line": True, "strict": False}
        assert line["error"] is None and all(product["guarantee"] for product in line["products"])
