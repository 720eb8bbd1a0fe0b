"""A plan -> bundles, one after another or as tasks on Ray, and one HTML page about all of them.

OUT/bracket-default-0/      a bundle, as `fit` writes it
OUT/fits/bracket-default-0.json   what is known of it: accuracy, escapes, cost, a few pictures
OUT/index.html              all of them
OUT/run.lock                while a run is at work here

On Ray a fit runs in a process of its own, in a folder of its own, and only this process writes to OUT: a fit that was
lost with its node is begun again elsewhere, and what it had made is nobody's.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from defectflow.bundle import finish_publishing, open_bundle, partial_of, publish
from defectflow.common import Progress, Watch, claimed, write_whole
from defectflow.errors import BundleError, ClusterError, DataError, DefectFlowError, SettingsError
from defectflow.line.journal import LOCK
from defectflow.scale.cluster import connected, look_at_each, told, usable
from defectflow.scale.fit_index import FitRecord, read_record, write_index
from defectflow.scale.fit_plan import PlannedFit
from defectflow.scale.versions import versions

RECORDS = "fits"
LOSSES = 5
"""Times that a fit is begun again after its node, or its process, was lost."""
LOOK_EVERY_S = 1.0

State = Literal["waiting", "running", "done", "failed"]


@dataclass(frozen=True, slots=True)
class FitState:
    """Where one fit of a plan stands."""

    fit: PlannedFit
    state: State = "waiting"
    note: str = ""
    """The stage it is in, or why it failed."""
    record: FitRecord | None = None


Show = Callable[[Sequence[FitState]], None]


def fit_many(
    fits: Sequence[PlannedFit],
    out: Path,
    *,
    address: str | None = None,
    needs: Any = None,
    resume: bool = False,
    cache: Path | None = None,
    show: Show = lambda states: None,
) -> list[FitState]:
    """Make every bundle of a plan. `address`: of Ray; None: here, one after another. `show` is told of each change.

    A fit that fails is told, and the others go on. To resume is to make what is missing or has failed. Raises
    SettingsError, ClusterError or DataError before the first fit where something does not fit together.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        with claimed(out, out / LOCK):
            board = _Board(fits, out, show)
            board.take_what_is_there(resume)
            (out / RECORDS).mkdir(exist_ok=True)
            if address is None:
                _one_after_another(board, out, cache)
            else:
                _on_ray(board, out, address, needs)
            board.write_page()
            return list(board.states.values())
    except OSError as error:
        raise DataError(
            f"{out}: cannot be written to ({error.strerror or error}); what was made is kept: see that files can be "
            "written there, then go on with --resume"
        ) from error


class _Board:
    """Where all fits stand; every change is shown."""

    def __init__(self, fits: Sequence[PlannedFit], out: Path, show: Show) -> None:
        self.states = {fit.name: FitState(fit) for fit in fits}
        self._out, self._show = out, show

    def take_what_is_there(self, resume: bool) -> None:
        """Raises SettingsError where OUT holds bundles and nobody asked to go on, or those of other settings."""
        for name, state in self.states.items():
            finish_publishing(self._out / name)
            file = self._out / RECORDS / f"{name}.json"
            if not resume and (file.exists() or (self._out / name).exists()):
                raise SettingsError(
                    f"{self._out}: holds {name} already; continue with --resume, or choose another --out"
                )
            if not file.exists():
                continue
            record = read_record(file)
            if record.key != state.fit.key:
                raise SettingsError(
                    f"{self._out}: {name} was made with other settings or other pictures' folders; choose another --out"
                    f", give the recipe another name, or remove {file}"
                )
            with suppress(BundleError):
                if open_bundle(self._out / name).card.bundle_id == record.bundle_id:
                    self.states[name] = replace(state, state="done", record=record)
        self._show(list(self.states.values()))

    def waiting(self) -> list[PlannedFit]:
        return [state.fit for state in self.states.values() if state.state == "waiting"]

    def tell(self, fit: PlannedFit, state: State, note: str = "", record: FitRecord | None = None) -> None:
        new = FitState(fit, state, note, record)
        if new != self.states[fit.name]:
            self.states[fit.name] = new
            self._show(list(self.states.values()))

    def finish(self, fit: PlannedFit, record: FitRecord) -> None:
        """The bundle is in place: its record makes it count."""
        write_whole(self._out / RECORDS / f"{fit.name}.json", record.model_dump_json(indent=2))
        self.tell(fit, "done", "", record)
        self.write_page()

    def write_page(self) -> None:
        missing = [
            (state.fit.name, state.note or state.state) for state in self.states.values() if state.record is None
        ]
        write_index(self._out, [state.record for state in self.states.values() if state.record is not None], missing)


def _one_after_another(board: _Board, out: Path, cache: Path | None) -> None:
    for fit in board.waiting():
        board.tell(fit, "running")

        def watch(step: Progress, fit: PlannedFit = fit) -> None:
            board.tell(fit, "running", _said(step))

        try:
            board.finish(fit, make(fit, out / fit.name, cache, watch))
        except DefectFlowError as error:
            board.tell(fit, "failed", str(error))


def _said(step: Progress) -> str:
    return f"{step.stage} {step.done}/{step.total}"


def make(fit: PlannedFit, out: Path, cache: Path | None, watch: Watch) -> FitRecord:
    """One bundle at `out`, and what is known of it. What a kill has left of it there is gone on with."""
    from defectflow.embedding import EmbeddingCache
    from defectflow.fitting import fit as run_fit
    from defectflow.scale.fit_record import record_of

    started = time.perf_counter()
    fitted = run_fit(
        fit.recipe,
        fit.good,
        out,
        cache=EmbeddingCache(cache),
        part_regex=fit.part_regex,
        resume=None,
        overwrite=True,
        watch=watch,
    )
    return record_of(fit, fitted.bundle, time.perf_counter() - started, watch)


# --- on Ray -------------------------------------------------------------------------------------------------


class Stages:
    """A small actor to which running fits say how far they are."""

    def __init__(self) -> None:
        self._said: dict[str, str] = {}

    def tell(self, name: str, said: str) -> None:
        self._said[name] = said

    def read(self) -> dict[str, str]:
        return dict(self._said)


def make_on_a_node(fit: PlannedFit, stages: Any) -> tuple[FitRecord, dict[str, bytes]]:
    """One fit as a task: its record, and its bundle's files by relative path."""
    last = 0.0

    def watch(step: Progress) -> None:
        nonlocal last
        if time.monotonic() - last > LOOK_EVERY_S:
            last = time.monotonic()
            stages.tell.remote(fit.name, _said(step))

    stages.tell.remote(fit.name, "started")
    with tempfile.TemporaryDirectory(prefix="defectflow-") as folder:
        out = Path(folder) / fit.name
        record = make(fit, out, None, watch)
        files = {file.relative_to(out).as_posix(): file.read_bytes() for file in out.rglob("*") if file.is_file()}
    return record, files


def look(folders: Sequence[Path]) -> dict[str, str]:
    """On each node before any work: does it see the pictures? Its versions. Raises DataError."""
    for folder in folders:
        if not folder.exists():
            raise DataError(f"does not see {folder}; put the pictures on a disk that all nodes have under this path")
    return versions(training=True)


def _on_ray(board: _Board, out: Path, address: str, needs: Any) -> None:
    waiting = board.waiting()
    if not waiting:
        return
    with connected(address) as all_nodes:
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        fitting = usable(all_nodes, needs)
        folders = sorted({path for fit in waiting for path in (fit.good, fit.test) if path is not None})
        look_at_each(fitting, look, folders, mine=versions(training=True))
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
        stages = ray.remote(num_cpus=0)(Stages).options(scheduling_strategy=here).remote()
        # A process of its own for each: a fit sets what is torch's for all of a process.
        task = ray.remote(max_calls=1, max_retries=LOSSES)(make_on_a_node).options(**needs.options())
        asked = {task.remote(fit, stages): fit for fit in waiting}
        try:
            while asked:
                ready, _ = ray.wait(list(asked), num_returns=1, timeout=LOOK_EVERY_S)
                for answer in ready:
                    _take(board, out, asked.pop(answer), answer)
                with suppress(ray.exceptions.RayError):
                    for name, said in ray.get(stages.read.remote()).items():
                        if any(fit.name == name for fit in asked.values()):
                            board.tell(board.states[name].fit, "running", said)
        finally:
            for answer in asked:
                with suppress(Exception):  # the cluster may be gone
                    ray.cancel(answer, force=True)


def _take(board: _Board, out: Path, fit: PlannedFit, answer: Any) -> None:
    import ray

    try:
        record, files = ray.get(answer)
    except ray.exceptions.RayTaskError as error:
        reason: DefectFlowError = error.cause if isinstance(error.cause, DefectFlowError) else told(error, fit.name)
        board.tell(fit, "failed", str(reason))
        return
    except ray.exceptions.RayError as error:
        lost = ClusterError(
            f"was lost {LOSSES + 1} times ({str(error).strip().splitlines()[0]}); give it more memory_gb"
        )
        board.tell(fit, "failed", str(lost))
        return
    partial = partial_of(out / fit.name)
    shutil.rmtree(partial, ignore_errors=True)
    for name, content in _in_order(files):
        (partial / name).parent.mkdir(parents=True, exist_ok=True)
        (partial / name).write_bytes(content)
    publish(out / fit.name)
    board.finish(fit, record)


def _in_order(files: dict[str, bytes]) -> Iterator[tuple[str, bytes]]:
    yield from sorted(files.items())
