"""An address -> a connection to Ray. Every node is looked at before any work is done."""

from __future__ import annotations

import logging
import re
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from defectflow.common import usable_cores
from defectflow.errors import ClusterError, DefectFlowError, SettingsError

LOCAL, AUTO = "local", "auto"
REACH_S = 5
"""How long the head's port may take to answer."""
LOOK_S = 180
"""How long a node may take to start Python, load the packages and answer."""
OBJECTS_BYTES = 512 * 2**20
"""Memory for what travels, where this process starts Ray itself."""


@dataclass(frozen=True, slots=True)
class Needs:
    """What one worker, or one fit, takes of a node."""

    cpus: float
    gpus: float = 0
    memory_bytes: int = 0

    def options(self) -> dict[str, Any]:
        """As Ray takes it."""
        return {
            "num_cpus": self.cpus,
            "num_gpus": self.gpus,
            **({"memory": self.memory_bytes} if self.memory_bytes else {}),
        }

    def __str__(self) -> str:
        said = [f"{self.cpus:g} CPUs"]
        if self.gpus:
            said.append(f"{self.gpus:g} GPUs")
        if self.memory_bytes:
            said.append(f"{self.memory_bytes / 2**30:.3g} GiB of memory")
        return ", ".join(said)


@dataclass(frozen=True, slots=True)
class Node:
    id: str
    host: str
    resources: Mapping[str, float]

    def room_for(self, needs: Needs) -> int:
        """How many workers of these needs the node holds."""
        wanted = {"CPU": needs.cpus, "GPU": needs.gpus, "memory": needs.memory_bytes}
        return int(min(self.resources.get(name, 0) // amount for name, amount in wanted.items() if amount > 0))

    def __str__(self) -> str:
        return f"node {self.host} ({self.id[:8]})"


@contextmanager
def connected(address: str) -> Iterator[list[Node]]:
    """The nodes that are there. `address`: "local" (a Ray of this run's own, on this machine), "auto" or HOST:PORT.

    Raises ClusterError where there is no cluster, or one of another version.
    """
    try:
        import ray
    except ImportError as error:
        raise SettingsError("--ray needs Ray: pip install 'defectflow[ray]', or leave --ray out") from error
    _check_address(address)
    quiet = {"logging_level": logging.ERROR, "log_to_driver": False}
    try:
        if address == LOCAL:
            own = {"num_cpus": usable_cores(), "object_store_memory": OBJECTS_BYTES, "include_dashboard": False}
            ray.init(address=LOCAL, **own, **quiet)
        else:
            ray.init(address=address, **quiet)
    except ray.exceptions.AuthenticationError as error:
        raise _no_secret(address, "this machine has none") from error
    except RuntimeError as error:
        raise ClusterError(
            f"--ray {address}: {' '.join(str(error).split())}; install the same versions of Python and Ray here as "
            "on the cluster"
        ) from error
    except (ConnectionError, ValueError, OSError) as error:
        if _answers(str(error)):  # so something is there, and it turned this machine away
            raise _no_secret(address, "it does not take this machine's") from error
        raise _no_cluster(address, str(error).splitlines()[0]) from error
    except Exception as error:  # Ray has no narrower one for what does not start in time
        raise ClusterError(
            f"--ray {address}: Ray did not start ({str(error).strip().splitlines()[0]}); this machine may be too busy: "
            "try again, or leave --ray out"
        ) from error
    try:
        yield nodes()
    finally:
        with suppress(Exception):  # the cluster may be gone
            ray.shutdown()


def nodes() -> list[Node]:
    """Those that are alive now."""
    import ray

    alive = (node for node in ray.nodes() if node["Alive"])
    return [Node(node["NodeID"], node["NodeManagerAddress"], dict(node["Resources"])) for node in alive]


def _check_address(address: str) -> None:
    """Raises before Ray is asked: it would try for minutes."""
    if address in (LOCAL, AUTO):
        return
    if "://" in address:
        raise SettingsError(
            f"--ray {address}: Ray's client protocol is not used; run the command on a node of the cluster (with --ray "
            "auto), or submit it there with `ray job submit`"
        )
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise SettingsError(f"--ray {address}: is no address; give HOST:PORT of the cluster's head, auto, or local")
    try:
        with socket.create_connection((host, int(port)), timeout=REACH_S):
            pass
    except (OSError, OverflowError) as error:
        raise _no_cluster(address, str(error)) from error


def _no_cluster(address: str, why: str) -> ClusterError:
    return ClusterError(
        f"--ray {address}: no cluster there ({why}); start one with `ray start --head --port=6379`, give the address "
        "that it prints, or use --ray alone for a Ray of this run's own on this machine"
    )


def _no_secret(address: str, why: str) -> ClusterError:
    return ClusterError(
        f"--ray {address}: the cluster asks for a secret, and {why}; copy ~/.ray/auth_token from its head to this "
        "machine, or set RAY_AUTH_TOKEN_PATH to where it lies, and set RAY_AUTH_MODE=token"
    )


def _answers(said: str) -> bool:
    """Whether something listens at the address that an error of Ray names."""
    found = re.search(r"at ([\w.-]+):(\d+)", said)
    if found is None:
        return False
    with suppress(OSError, OverflowError), socket.create_connection((found[1], int(found[2])), timeout=REACH_S):
        return True
    return False


def usable(all_nodes: list[Node], needs: Needs) -> list[Node]:
    """The nodes that can hold a worker. Raises ClusterError if none can."""
    fitting = [node for node in all_nodes if node.room_for(needs)]
    if not fitting:
        has = "; ".join(
            f"{node} has {node.resources.get('CPU', 0):g} CPUs, {node.resources.get('GPU', 0):g} GPUs, "
            f"{node.resources.get('memory', 0) / 2**30:.3g} GiB"
            for node in all_nodes[:5]
        )
        raise ClusterError(f"no node has room for {needs}, which one worker takes ({has}); ask for less, or add a node")
    return fitting


def look_at_each(fitting: list[Node], look: Callable[..., dict[str, str]], *given: Any, mine: dict[str, str]) -> None:
    """Run `look` on every node, and compare the versions that it returns with this process's.

    A node that is lost meanwhile is left out, as it would be later. Raises ClusterError naming the node that differs,
    has no DefectFlow, or does not answer, or where all are lost; and what `look` raises.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    remote = ray.remote(num_cpus=0, max_retries=0)(look)
    asked = [
        (node, remote.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node.id, soft=False)).remote(*given))
        for node in fitting
    ]
    seen = 0
    for node, answer in asked:
        try:
            theirs = ray.get(answer, timeout=LOOK_S)
        except ray.exceptions.GetTimeoutError as error:
            raise ClusterError(f"{node}: has not answered within {LOOK_S} s; see `ray status`, or remove it") from error
        except ray.exceptions.RayTaskError as error:
            raise told(error, node) from error
        except ray.exceptions.RayError as error:
            if node.id in {one.id for one in nodes()}:
                raise ClusterError(
                    f"{node}: cannot run Python for a look ({_first(error)}); see `ray status`"
                ) from error
            continue
        seen += 1
        differing = [f"{name} {theirs.get(name, 'none')} there and {mine[name]} here" for name in mine]
        differing = [said for said, name in zip(differing, mine, strict=True) if theirs.get(name) != mine[name]]
        if differing:
            raise ClusterError(
                f"{node}: has {', '.join(differing)}, so its rows could differ from the others'; install the same "
                "versions on all nodes"
            )
    if not seen:
        raise ClusterError(
            f"all {len(fitting)} nodes were lost while they were looked at; see `ray status`, and try again"
        )


def told(error: Any, place: object) -> DefectFlowError:
    """What a worker's exception says to a person."""
    cause = error.cause
    if isinstance(cause, DefectFlowError):
        return type(cause)(f"{place}: {cause}")
    if isinstance(cause, ImportError):
        return ClusterError(f"{place}: {cause}; install the same there as here: pip install 'defectflow[ray]'")
    return ClusterError(f"{place}: failed ({_first(cause or error)})")


def _first(error: object) -> str:
    text = str(error).strip().splitlines()
    return text[-1] if text else type(error).__name__
