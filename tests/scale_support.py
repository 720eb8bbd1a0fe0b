"""Nodes for the tests on a Ray cluster."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

NODE = {"num_cpus": 1, "object_store_memory": 100 * 2**20}


@contextmanager
def another_node(cluster: Any, **options: Any) -> Iterator[Any]:
    """One node more, gone afterwards if it is not gone by then."""
    node = cluster.add_node(**{**NODE, **options})
    try:
        yield node
    finally:
        if node in cluster.list_all_nodes():
            cluster.remove_node(node, allow_graceful=False)
