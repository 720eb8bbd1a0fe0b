"""Bundle + archive -> partitioned results, by workers on Ray. Killed at any moment, it can be resumed.

    check what is wanted -> connect -> list the archive -> look at every node -> shards -> workers
    -> each shard's files, whole, then its line in the manifest

Only this process writes results, so a folder has one owner as on one machine; its memory does not grow
with the archive.
"""

from __future__ import annotations

import hashlib
import io
import secrets
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from defectflow.bundle import Bundle, Family, bundles_of
from defectflow.common import Progress, Watch, atomic_write, claimed, remedy, unwatched, utc_now, write_whole
from defectflow.data import MANIFEST as PICTURES_MANIFEST
from defectflow.data import Archive, PartNames, Picture, is_test_folder, is_url, look_through, printable
from defectflow.errors import DataError, SettingsError
from defectflow.line import chosen_bundles, chosen_number
from defectflow.line.drawn import is_drawn
from defectflow.line.journal import LOCK, RUN, Run
from defectflow.line.judge import check_wanted
from defectflow.line.products import check_known
from defectflow.line.providers import find_providers, short_name
from defectflow.line.resume import check_empty, earlier_run
from defectflow.line.score_folder import absolute, relative_name
from defectflow.line.shards import (
    AGAIN,
    MANIFEST,
    PARTS_OF_SHARDS,
    RESULTS,
    ShardLine,
    read_manifest_lines,
    shard_file,
    shard_files,
    write_manifest_lines,
)
from defectflow.scale.cluster import LOCAL, Needs, connected, look_at_each, usable
from defectflow.scale.pool import Pool
from defectflow.scale.shard_plan import ShardPlan, shard_count
from defectflow.scale.versions import versions
from defectflow.scale.worker import Actor, Done, Job, bundle_files, look

NAMED = 1000
"""Failed pictures that are told by name; all are in the results."""
GPU_PROVIDERS = ("cuda", "tensorrt")


@dataclass(frozen=True, slots=True)
class Wanted:
    """How an archive is to be scored."""

    overlays: bool = False
    masks: bool = False
    scores_only: bool = False
    part_regex: str | None = None
    """Names the parts where nothing else does; a picture in whose name it finds none is a part of its own."""
    product: str | None = None
    """Of a bundle of several products: the one that all pictures show; "auto", or None: each picture's own one."""
    provider: str = "cpu"
    core: bool = False
    threads: int = 1
    """CPUs that each worker takes."""
    workers: int = 0
    """0: as many as the cluster has room for."""
    store: str | None = None
    by: str = "unknown"

    @property
    def needs(self) -> Needs:
        return Needs(self.threads, 1 if self.provider.lower().removesuffix("executionprovider") in GPU_PROVIDERS else 0)


@dataclass(slots=True)
class Scored:
    """What is in the results now, counted over pictures and over parts, and how this run went."""

    pictures: dict[str, int] = field(default_factory=dict)
    parts: dict[str, int] = field(default_factory=dict)
    reasons: dict[str, int] = field(default_factory=dict)
    """Why pictures are invalid."""
    by_product: dict[str, dict[str, int]] = field(default_factory=dict)
    """Parts of each product by decision, where rows name products."""
    failed: list[tuple[str, str]] = field(default_factory=list)
    """(file, reason), the first NAMED."""
    failed_count: int = 0
    again: int = 0
    judged: int = 0
    unlike: int = 0
    first_unlike: str | None = None
    shards: int = 0
    notes: list[str] = field(default_factory=list)
    """What its user should know about the pictures: skipped files, names without a part."""
    workers: int = 0
    lost_workers: int = 0
    working_seconds: float = 0
    """From the first open worker on: without the start of processes."""
    processor_seconds: float = 0
    """Of the workers, for the shards that count."""


def score_on_ray(
    bundle: Bundle | Family,
    source: str,
    out: Path,
    wanted: Wanted,
    *,
    address: str = LOCAL,
    resume: bool = False,
    watch: Watch = unwatched,
) -> Scored:
    """Judge every picture of a folder, manifest or object store into `out`, on all nodes of a cluster.

    Rows, parts, drawings and the store's rows are those of `score_folder`; results are Parquet files by shard. To
    resume is to judge what has no row yet, what could not be used, what has changed, and what has arrived since.
    Raises, before any work, NotCalibrated, UnknownProduct, SettingsError, ClusterError, BundleError, StoreError and
    DataError where something does not fit together; later DataError where results cannot be written.
    """
    judging = chosen_bundles(bundle, wanted.product)
    is_open = chosen_number(bundle, wanted.product) is None
    check_wanted(
        [each.card for each in judging],
        scores_only=wanted.scores_only,
        drawn=wanted.overlays or wanted.masks,
        recorded=wanted.store is not None,
    )
    _check_source(source)
    PartNames.by(wanted.part_regex, strict=False)
    _check_out(out, resume)
    with connected(address) as all_nodes:
        fitting = usable(all_nodes, wanted.needs)
        _check_store(wanted.store, len(all_nodes))
        room = sum(node.room_for(wanted.needs) for node in fitting)
        workers = wanted.workers or room
        made = not out.exists()
        try:
            out.mkdir(parents=True, exist_ok=True)
            with claimed(out, out / LOCK), ShardPlan(out) as plan:
                if not resume:
                    check_empty(out)
                scored = Scored(notes=_list(plan, source, wanted.part_regex, watch))
                if workers > room:
                    scored.notes.append(f"{workers} workers wanted, and the cluster has room for {room}")
                check_known(judging, plan.products(), source)
                run = _begin(bundle if is_open else judging[0], source, out, wanted, plan, workers, resume)
                job = Job(
                    run,
                    bundle_files(judging[0].family or judging[0]),
                    None if is_open else judging[0].product,
                    wanted.provider,
                    wanted.core,
                    wanted.threads,
                    _anywhere(wanted.store),
                    wanted.by,
                    None if is_url(source) else str(Path(source) if Path(source).is_dir() else Path(source).parent),
                )
                watch(Progress("look at nodes", 0, len(fitting)))
                import ray

                shared = ray.put(job)
                look_at_each(fitting, look, shared, plan.first(), mine=versions())
                watch(Progress("look at nodes", len(fitting), len(fitting)))
                (out / RESULTS).mkdir(exist_ok=True)
                (out / PARTS_OF_SHARDS).mkdir(exist_ok=True)
                write_whole(out / RUN, run.model_dump_json(indent=2))
                made = False
                _score(run, shared, out, wanted, plan, workers, scored, watch)
                known_forms = all(each.card.calibration_forms for each in judging)
                ended = {"finished": utc_now(), "unlike": scored.unlike if known_forms else None}
                write_whole(out / RUN, run.model_copy(update=ended).model_dump_json(indent=2))
                return scored
        except OSError as error:
            raise DataError(
                f"{out}: results cannot be written ({error.strerror or error}); what was judged is kept: "
                f"{remedy(error)}, then go on with --resume"
            ) from error
        finally:
            if made and out.is_dir() and not any(out.iterdir()):
                out.rmdir()  # refused before any work: no trace


def _score(
    run: Run, job: Any, out: Path, wanted: Wanted, plan: ShardPlan, workers: int, scored: Scored, watch: Watch
) -> None:
    import ray

    remote = ray.remote(max_restarts=0)(Actor).options(**wanted.needs.options())

    def make() -> tuple[Any, Any]:
        actor = remote.remote()
        return actor, actor.open.remote(job)

    assert run.shards is not None
    pool = Pool(make, wanted.needs, min(workers, run.shards))
    started, total, seen = time.perf_counter(), len(plan), 0
    with Results(out) as results:
        for done in pool.run(plan.shards(run.shards), results.known):
            results.keep(done)
            seen += sum(done.pictures.values())
            scored.judged += done.judged
            scored.again += done.again
            scored.processor_seconds += done.processor_seconds
            scored.first_unlike = scored.first_unlike or done.first_unlike
            scored.failed += done.named[: NAMED - len(scored.failed)]
            rate = scored.judged / (time.perf_counter() - (pool.since or started))
            lost = f", {pool.lost} workers lost" if pool.lost else ""
            note = f"{rate:.1f} pictures/s, {pool.open_workers} of {pool.count} workers{lost}"
            watch(Progress("score", min(seen, total), total, note))
    scored.pictures, scored.parts, scored.reasons, scored.by_product = results.counts()
    if (gone := sum(scored.pictures.values()) - total) > 0:
        scored.notes.append(f"{gone} judged earlier and not found any more; what was said of them stays in the results")
    scored.unlike, scored.failed_count = (sum(getattr(line, name) for line in results.lines.values()) for name in _SUMS)
    scored.shards, scored.workers, scored.lost_workers = len(results.lines), pool.count, pool.lost
    scored.working_seconds = time.perf_counter() - (pool.since or started)


_SUMS = ("unlike", "failed")


class Results:
    """The shards' files in a results' folder, and their manifest: files are replaced whole, then a line is written."""

    def __init__(self, out: Path) -> None:
        self._out = out
        self.lines = read_manifest_lines(out)

    def __enter__(self) -> Results:
        write_manifest_lines(self._out, self.lines.values())  # a line that a kill has cut short is gone
        self._manifest = (self._out / MANIFEST).open("a", encoding="utf-8", newline="\n")
        return self

    def __exit__(self, *error: object) -> None:
        self._manifest.close()
        write_manifest_lines(self._out, self.lines.values())

    def known(self, number: int) -> bytes | None:
        """A shard's rows so far."""
        try:
            return (self._out / RESULTS / shard_file(number)).read_bytes()
        except FileNotFoundError:
            return None

    def keep(self, done: Done) -> None:
        """Write a shard's files, then its line: what has a line is whole. Raises OSError."""
        for name, content in done.drawn.items():
            _write(self._out / name, content)
        results, parts = (f"{folder}/{shard_file(done.number)}" for folder in (RESULTS, PARTS_OF_SHARDS))
        for name, content_or_none in ((parts, done.parts), (results, done.results)):
            if content_or_none is not None:
                _write(self._out / name, content_or_none)
        line = ShardLine(
            shard=done.number,
            results=results,
            results_sha256=_digest(done.results, self._out / results),
            parts=parts,
            parts_sha256=_digest(done.parts, self._out / parts),
            pictures=done.pictures,
            of_parts=done.of_parts,
            reasons=done.reasons,
            by_product=done.by_product,
            unlike=done.unlike,
            failed=done.failed,
            finished=utc_now(),
        )
        self.lines[done.number] = line
        self._manifest.write(line.model_dump_json() + "\n")
        self._manifest.flush()

    def counts(self) -> tuple[dict[str, int], dict[str, int], dict[str, int], dict[str, dict[str, int]]]:
        """Pictures and parts by decision, invalid pictures by reason, and each product's parts, over all shards."""
        pictures, parts, reasons = Counter[str](), Counter[str](), Counter[str]()
        by_product = defaultdict[str, Counter[str]](Counter)
        for line in self.lines.values():
            pictures.update(line.pictures)
            parts.update(line.of_parts)
            reasons.update(line.reasons)
            for product, decisions in line.by_product.items():
                by_product[product].update(decisions)
        return dict(pictures), dict(parts), dict(reasons), {name: dict(by_product[name]) for name in sorted(by_product)}


def _write(file: Path, content: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(file) as partial:
        partial.write_bytes(content)


def _digest(content: bytes | None, file: Path) -> str:
    return hashlib.sha256(file.read_bytes() if content is None else content).hexdigest()


# --- before any work ----------------------------------------------------------------------------------------


def _check_source(source: str) -> None:
    if not is_url(source) and not Path(source).exists():
        raise DataError(f"{source}: no such file or folder")


def _check_out(out: Path, resume: bool) -> None:
    """Before Ray is started, which takes long: nobody works there, and nothing lies there that is not asked for."""
    if out.exists():
        with claimed(out, out / LOCK):
            if not resume:
                check_empty(out)


def _check_store(url: str | None, count: int) -> None:
    """Brought up to date here, so that many workers need not; what is wrong with it shows now."""
    if url is None:
        return
    from defectflow.store import Store, is_sqlite

    if count > 1 and is_sqlite(url):
        raise SettingsError(
            f"--store {url}: is a SQLite file, which one machine alone may write to, and the cluster has {count} "
            "nodes; give a PostgreSQL server that all nodes reach (postgresql://user:password@host/database), or leave "
            "--store out"
        )
    Store.open(url).close()


def _anywhere(url: str | None) -> str | None:
    """A store's address as it is right for processes that were started elsewhere, too."""
    return url if url is None or is_url(url) else str(absolute(Path(url).expanduser()))


def _list(plan: ShardPlan, source: str, part_regex: str | None, watch: Watch) -> list[str]:
    """Fill the plan; what its user should know about it."""
    watch(Progress("list pictures", 0, 1))
    if _is_read_whole(source):
        found = look_through(absolute(Path(source)), usual_part_regex=part_regex)
        base = _base(source)
        kept = [one for one in found.pictures if not is_drawn(one.path)]
        plan.add(((relative_name(one.path, base), one) for one in kept), listed=False)
        notes = found.left_out_notes()
    else:
        archive = Archive(source if is_url(source) else str(absolute(Path(source))))
        plan.list_files(archive.files())
        pictures = archive.pictures(plan.names, part_regex)
        plan.add(((printable(one.name), one) for one in _not_drawn(pictures, archive)), listed=archive.is_remote)
        notes = archive.left_out_notes()
    if not len(plan):
        raise DataError(f"{source}: no pictures found; give a folder that holds pictures")
    watch(Progress("list pictures", 1, 1, f"{len(plan)} pictures"))
    if part_regex is not None and (unnamed := plan.unnamed()):
        count, first = unnamed
        said = f"{count} names do not match the part regex {part_regex}, the first is {first}"
        notes.append(f"{said}; each counts as a separate part")
    return notes


def _is_read_whole(source: str) -> bool:
    """Manifests, single pictures, and the test folder of a labelled tree, which is read with the tree around it."""
    if is_url(source):
        return False
    path = Path(source)
    return path.is_file() or (path / PICTURES_MANIFEST).is_file() or is_test_folder(path.absolute().name)


def _not_drawn(pictures: Iterator[Picture], archive: Archive) -> Iterator[Picture]:
    return (one for one in pictures if archive.is_remote or not is_drawn(one.path))


def _base(source: str) -> Path:
    path = Path(source)
    return absolute(path if path.is_dir() else path.parent)


def _begin(
    bundle: Bundle | Family, source: str, out: Path, wanted: Wanted, plan: ShardPlan, workers: int, resume: bool
) -> Run:
    """The run's header, not yet written; an earlier run's, where it goes on. Raises SettingsError, DataError.

    `bundle`: what judges, so several products only where each picture is judged as its own.
    """
    cards = {} if isinstance(bundle, Bundle) else {str(each.product): each.card for each in bundles_of(bundle)}
    runs_on = ", ".join([*map(short_name, find_providers([wanted.provider])), *(["core"] if wanted.core else [])])
    run = Run(
        bundle=str(bundle.path.resolve()),
        runs_on=runs_on,
        card=bundle.card if isinstance(bundle, Bundle) else next(iter(cards.values())),
        products=cards,
        source=source.rstrip("/") if is_url(source) else str(_base(source)),
        started=utc_now(),
        pictures=len(plan),
        scores_only=wanted.scores_only,
        overlays=wanted.overlays,
        masks=wanted.masks,
        recorded=wanted.store is not None,
        shards=shard_count(len(plan), workers, drawn=wanted.overlays or wanted.masks),
        key=secrets.token_hex(8),
        columns=plan.columns(),
    )
    if not resume:
        return run
    earlier = earlier_run(out, run)
    if missing := set(run.columns) - set(earlier.columns):
        raise SettingsError(
            f"{out}: holds results without the manifest's column {sorted(missing)[0]!r}; choose another --out"
        )
    _check_parts(out, plan)
    return earlier.model_copy(update={"pictures": run.pictures, "finished": None})


def _check_parts(out: Path, plan: ShardPlan) -> None:
    """Raises SettingsError for a picture that shows another part than when it was judged: its shard is another."""
    import pyarrow
    import pyarrow.parquet

    for file in shard_files(out):
        try:
            table = pyarrow.parquet.read_table(io.BytesIO(file.read_bytes()), columns=["file", "part"])
        except (pyarrow.ArrowException, OSError) as error:
            raise DataError(f"{file}: cannot be read as results ({str(error).splitlines()[0]}); {AGAIN}") from error
        before = dict(zip(table["file"].to_pylist(), table["part"].to_pylist(), strict=True))
        for name, part in plan.part_of(list(before)).items():
            if part != before[name]:
                raise SettingsError(
                    f"{out}: {name} was judged as part {before[name]!r} and is {part!r} now; use the same "
                    "--part-regex, or choose another --out"
                )
