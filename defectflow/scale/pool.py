"""Shards -> workers -> what they made of them. Lost workers are replaced, and what they had goes to others.

The driver alone decides what counts: a shard's first result. So a lost shard may be given out again, and a late one
given to a second worker, without anything being doubled.
"""

from __future__ import annotations

import statistics
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from defectflow.errors import ClusterError
from defectflow.scale.cluster import Needs, nodes, told
from defectflow.scale.shard_plan import Shard
from defectflow.scale.worker import Done

AHEAD = 2
"""Shards that a worker has been given: the next one waits there, so that no worker waits for the driver."""
MOST_LOSSES = 4
"""A shard that so many workers were lost with is more likely the cause than the victim."""
LATE = 2.0
"""At the end, a shard that takes so many times the median is given to a second worker."""
STALLED_S = 120.0
"""How long there may be no worker at all before the run gives up; a node may be coming up meanwhile."""
LOOK_EVERY_S = 1.0


@dataclass(slots=True)
class _Copy:
    """One shard, given to one worker."""

    shard: Shard
    member: _Member
    since: float


@dataclass(slots=True)
class _Member:
    actor: Any
    is_open: bool = False
    busy: int = 0


@dataclass(slots=True)
class Pool:
    """`count` workers. `make` starts one and returns its actor and what is ready once it is open."""

    make: Callable[[], tuple[Any, Any]]
    needs: Needs
    count: int
    lost: int = 0
    """Workers so far."""
    second_copies: int = 0
    since: float | None = None
    """When the first worker was open; by time.perf_counter."""
    _opening: dict[Any, _Member] = field(default_factory=dict)
    _copies: dict[Any, _Copy] = field(default_factory=dict)
    _members: list[_Member] = field(default_factory=list)
    _again: deque[Shard] = field(default_factory=deque)
    _losses: dict[int, int] = field(default_factory=dict)
    _took_s: deque[float] = field(default_factory=lambda: deque(maxlen=200))

    @property
    def open_workers(self) -> int:
        return sum(member.is_open for member in self._members)

    def run(self, shards: Iterator[Shard], known: Callable[[int], bytes | None]) -> Iterator[Done]:
        """Each shard's result once, in the order in which they come. `known`: a shard's rows so far.

        Raises what a worker raises, and ClusterError where the workers are lost for good.
        """
        import ray

        try:
            for _ in range(self.count):
                self._start()
            last_seen, is_end = time.monotonic(), False
            while True:
                is_end = self._give(shards, known, is_end)
                waiting = [*self._opening, *self._copies]
                if is_end and not self._copies and not self._again:
                    return
                ready, _ = ray.wait(waiting, num_returns=1, timeout=LOOK_EVERY_S) if waiting else ([], [])
                for answer in ready:
                    last_seen = time.monotonic()
                    done = self._take(answer)
                    if done is not None:
                        yield done
                if self.open_workers:
                    last_seen = time.monotonic()
                elif time.monotonic() - last_seen > STALLED_S:
                    raise ClusterError(
                        f"no worker has been there for {STALLED_S:g} s: of {len(nodes())} nodes none has {self.needs} "
                        "free; add nodes, or wait until other work has ended, then go on with --resume"
                    )
        finally:
            with suppress(Exception):  # the cluster may be gone
                for member in self._members:
                    ray.kill(member.actor)

    def _start(self) -> None:
        actor, opened = self.make()
        member = _Member(actor)
        self._members.append(member)
        self._opening[opened] = member

    def _give(self, shards: Iterator[Shard], known: Callable[[int], bytes | None], is_end: bool) -> bool:
        """Shards to the workers that have room; whether all shards have been given out."""
        for _ in range(AHEAD):
            for member in self._members:
                if not member.is_open or member.busy >= AHEAD:
                    continue
                if self._again:
                    shard = self._again.popleft()
                    self._send(member, shard, known)
                elif not is_end:
                    following = next(shards, None)
                    if following is None:
                        is_end = True
                    else:
                        self._send(member, following, known)
                if is_end and not self._again and not member.busy:
                    self._help(member, known)
        return is_end

    def _help(self, member: _Member, known: Callable[[int], bytes | None]) -> None:
        """Give an idle worker the shard that has been out longest, if that is late and nobody helps yet."""
        given = [copy.shard.number for copy in self._copies.values()]
        alone = [copy for copy in self._copies.values() if given.count(copy.shard.number) == 1]
        if not alone or len(self._took_s) < 3:
            return
        oldest = min(alone, key=lambda copy: copy.since)
        if time.monotonic() - oldest.since > LATE * statistics.median(self._took_s):
            self.second_copies += 1
            self._send(member, oldest.shard, known)

    def _send(self, member: _Member, shard: Shard, known: Callable[[int], bytes | None]) -> None:
        answer = member.actor.bring_up_to_date.remote(shard, known(shard.number))
        self._copies[answer] = _Copy(shard, member, time.monotonic())
        member.busy += 1

    def _take(self, answer: Any) -> Done | None:
        import ray

        try:
            result = ray.get(answer)
        except ray.exceptions.RayTaskError as error:
            raise told(error, "a worker") from error
        except ray.exceptions.RayError as error:  # the worker, its node, or what it sent is lost
            member = self._opening[answer] if answer in self._opening else self._copies[answer].member
            self._lose(member, error)
            return None
        if answer in self._opening:
            self._opening.pop(answer).is_open = True
            self.since = self.since or time.perf_counter()
            return None
        copy = self._copies.pop(answer)
        copy.member.busy -= 1
        self._took_s.append(time.monotonic() - copy.since)
        for other, late in list(self._copies.items()):
            if late.shard.number == copy.shard.number:  # its result will not count
                del self._copies[other]
                late.member.busy -= 1
        assert isinstance(result, Done)
        return result

    def _lose(self, member: _Member, error: Exception) -> None:
        """What a worker had goes back to the front, and another worker takes its place."""
        import ray

        self.lost += 1
        self._members.remove(member)
        ray.kill(member.actor)
        for opened, one in list(self._opening.items()):
            if one is member:
                del self._opening[opened]
        for answer, copy in list(self._copies.items()):
            if copy.member is not member:
                continue
            del self._copies[answer]
            if any(other.shard.number == copy.shard.number for other in self._copies.values()):
                continue
            self._again.append(copy.shard)
            losses = self._losses[copy.shard.number] = self._losses.get(copy.shard.number, 0) + 1
            if losses >= MOST_LOSSES:
                of, why = copy.shard.pictures, str(error).strip().splitlines()[0]
                raise ClusterError(
                    f"shard {copy.shard.number} ({len(of)} pictures, the first is {of[0].name}): {losses} workers were "
                    f"lost with it, as happens for lack of memory ({why}); give workers more memory, or take its "
                    "largest pictures away, then go on with --resume"
                )
        if not self._opening and not self.open_workers and self.lost > MOST_LOSSES * max(1, self.count):
            raise ClusterError(f"{self.lost} workers were lost ({error}); see `ray status`, then go on with --resume")
        self._start()
