"""results.json -> the targets with what was measured, and a page of Markdown tables."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

GRAPH_RATIO = 1.15
CFLOW_SPEED = 3.0
INSTALL_SHARE = 0.1
FIRST_VERDICT_S = 1.5
RESIDENT_MB = 600
RECIPES = "fast", "default"


def targets(results: dict[str, Any]) -> list[dict[str, Any]]:
    """Every target on every set, as far as it was measured: the figure, its limit, and whether it is met.

    Speeds are compared with a peer's fastest way to a verdict, the best it can do, and with its ONNX file in the engine
    that runs ours, which tells the models apart from their engines.
    """
    found = list(_install_targets(results.get("environments", {})))
    for name, data in results.get("sets", {}).items():
        found += _set_targets(name, data.get("peers", {}))
    return found


def _install_targets(environments: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if {"base", "anomalib"} <= environments.keys():
        ours, theirs = environments["base"], environments["anomalib"]
        for label, key in (("", "disk_mb"), (", GPU packages left out", "disk_without_gpu_mb")):
            yield _target(f"base install / anomalib's on disk{label}", ours[key] / theirs[key], INSTALL_SHARE)


def _set_targets(name: str, peers: dict[str, Any]) -> Iterator[dict[str, Any]]:
    ratio = _at(peers, "fast", "graph", "ratio_1")
    if ratio is not None:
        yield _target(f"{name}: `fast`, whole graph / backbone alone", ratio, GRAPH_RATIO)
    ours = _at(peers, "default", "backends", "onnx", "latency", "median_ms")
    times = backend_times(peers.get("cflow", {}))
    fastest = min(times, key=lambda backend: times[backend], default=None)
    for backend in dict.fromkeys((fastest, "onnx")):
        if ours is not None and backend in times:
            said = ", its fastest" if backend == fastest else ", the same engine"
            label = f"{name}: `default`, times as fast as anomalib's cflow ({backend}{said})"
            yield _target(label, times[backend] / ours, CFLOW_SPEED, at_least=True)
    for recipe in RECIPES:
        backend = _at(peers, recipe, "backends", "onnx") or {}
        if backend.get("first_verdict_s") is not None:
            start = backend["first_verdict_s"]
            yield _target(f"{name}: `{recipe}`, process start to first verdict, s", start, FIRST_VERDICT_S)
        resident = _at(backend, "latency", "single_peak_mb")
        if resident is not None:
            yield _target(f"{name}: `{recipe}`, resident memory, single pictures, MB", resident, RESIDENT_MB)


def backend_times(peer: dict[str, Any]) -> dict[str, float]:
    """Backend -> the median of a single picture, in ms, where it was measured."""
    medians = {name: _at(figures, "latency", "median_ms") for name, figures in peer.get("backends", {}).items()}
    return {name: median for name, median in medians.items() if median is not None}


def _target(label: str, measured: float, limit: float, *, at_least: bool = False) -> dict[str, Any]:
    met = measured >= limit if at_least else measured <= limit
    return {"target": label, "measured": measured, "limit": limit, "at_least": at_least, "met": met}


def write_tables(results: dict[str, Any], to: Path) -> None:
    sections = [_environment_table(results), *(_set_tables(results)), _target_table(results), _failures(results)]
    to.write_text("\n\n".join(section for section in sections if section) + "\n", encoding="utf-8")


def _environment_table(results: dict[str, Any]) -> str:
    rows = []
    environments = results.get("environments", {})
    anomalib = environments.get("anomalib")
    for name, figures in environments.items():
        share = f"{figures['disk_mb'] / anomalib['disk_mb']:.3f}" if anomalib else "-"
        imports = ", ".join(f"{use} {seconds:.2f} s" for use, seconds in figures["import_s"].items())
        sizes = [f"{figures[key]:,.0f}" for key in ("disk_mb", "disk_without_gpu_mb")]
        rows.append([name, *sizes, share, str(figures["packages"]), imports])
    head = ["environment", "MB on disk", "without GPU packages", "share of anomalib's", "packages", "import"]
    return _table("Install", head, rows) if rows else ""


def _set_tables(results: dict[str, Any]) -> Iterator[str]:
    for name, data in results.get("sets", {}).items():
        said = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in data.get("data", {}).items())
        peers = data.get("peers", {})
        yield f"## {name}\n\n{said}"
        yield _fit_table(peers)
        yield _judge_table(peers)
        yield _graph_table(peers)


def _fit_table(peers: dict[str, Any]) -> str:
    ours = _at(peers, "default", "fit", "fit_s")
    rows = []
    for name, peer in peers.items():
        fit = peer.get("fit", {})
        sizes = dict(fit.get("size_mb", {}))
        sizes |= {
            backend: figures["size_mb"] for backend, figures in fit.get("exports", {}).items() if "size_mb" in figures
        }
        rows.append(
            [
                name,
                _number(fit.get("fit_s"), 0),
                _number(_over(fit.get("fit_s"), ours)),
                _number(fit.get("fit_cpu_s"), 0),
                _number(fit.get("fit_peak_mb"), 0),
                _learned(fit),
                ", ".join(f"{backend} {size:.1f}" for backend, size in sizes.items()) or "-",
            ]
        )
    return _table("Fit", ["model", "s", "/ `default`", "CPU s", "peak MB", "learned for", "MB on disk"], rows)


def _learned(fit: dict[str, Any]) -> str:
    if "training" in fit:
        return "steps " + "/".join(str(level["steps"]) for level in fit["training"].values())
    return f"{fit['epochs']} epochs, {fit['optimizer_steps']} steps" if "epochs" in fit else "-"


def _judge_table(peers: dict[str, Any]) -> str:
    ours = _at(peers, "default", "backends", "onnx", "latency", "median_ms")
    rows = []
    for name, peer in peers.items():
        for backend, figures in peer.get("backends", {}).items():
            judged, timed = figures.get("judged", {}), figures.get("latency", {})
            rows.append(
                [
                    f"{name} {backend}",
                    _number(judged.get("image_auroc"), 3),
                    _number(judged.get("pixel_auroc"), 3),
                    _number(judged.get("aupro_30"), 3),
                    _number(judged.get("good_rejected"), 0),
                    _number(judged.get("defective_passed"), 0),
                    _number(judged.get("flips"), 0),
                    _small(judged.get("largest_score_difference")),
                    _number(timed.get("median_ms"), 1),
                    _number(timed.get("p95_ms"), 1),
                    _number(timed.get("median_cpu_ms"), 1),
                    _number(_over(timed.get("median_ms"), ours)),
                    _number(timed.get("folder_pictures_per_s"), 1),
                    _number(timed.get("single_peak_mb"), 0),
                    _number(figures.get("first_verdict_s"), 2),
                ]
            )
    accuracy = ["image AUROC", "pixel AUROC", "AUPRO to 30%", "good rejected", "defective passed"]
    cost = ["ms", "p95 ms", "CPU ms", "/ `default` onnx", "folder pictures/s", "resident MB", "start to verdict s"]
    return _table("Verdicts", ["model", *accuracy, "flips", "score diff", *cost], rows)


def _graph_table(peers: dict[str, Any]) -> str:
    rows = [
        [recipe, *(_number(graph.get(key)) for key in ("whole_ms_1", "backbone_ms_1", "ratio_1", "ratio_8"))]
        for recipe in RECIPES
        if (graph := _at(peers, recipe, "graph"))
    ]
    return _table("Graph", ["recipe", "whole ms", "backbone alone ms", "ratio", "ratio in batches of 8"], rows)


def _target_table(results: dict[str, Any]) -> str:
    rows = [
        [
            item["target"],
            f"{'at least' if item['at_least'] else 'at most'} {item['limit']:g}",
            _number(item["measured"], 3),
            "met" if item["met"] else "**missed**",
        ]
        for item in results.get("targets", [])
    ]
    return _table("Targets", ["target", "limit", "measured", ""], rows) if rows else ""


def _failures(results: dict[str, Any]) -> str:
    found = [f"- {' / '.join(place)}: {message}" for place, message in _failed(results.get("sets", {}), ())]
    return "## Failures\n\n" + ("\n".join(found) or "None.")


def _failed(figures: dict[str, Any], place: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    for key, value in figures.items():
        if key == "failed":
            yield place, value
        elif isinstance(value, dict):
            yield from _failed(value, (*place, key))


def _table(title: str, head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return f"### {title}\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _number(value: float | None, digits: int = 2) -> str:
    return "-" if value is None else f"{value:,.{digits}f}"


def _small(value: float | None) -> str:
    return "-" if value is None else f"{value:.0e}" if value else "0"


def _over(value: float | None, by: float | None) -> float | None:
    return None if value is None or not by else value / by


def _at(figures: dict[str, Any], *keys: str) -> Any:
    for key in keys:
        figures = figures.get(key) or {}
    return figures or None
