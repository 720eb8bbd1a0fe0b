"""Every picture lies in one shard, with all others of its part, and finds it again when more have arrived."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from defectflow.data import Picture
from defectflow.scale.shard_plan import Planned, ShardPlan, hash_of, shard_count


def pictures(parts: list[str]) -> list[tuple[str, Picture]]:
    return [
        (f"{number}.png", Picture(Path(f"/archive/{number}.png"), part, None, "", name=f"{number}.png"))
        for number, part in enumerate(parts)
    ]


@settings(max_examples=30)
@given(parts=st.lists(st.sampled_from("abcdefghij"), min_size=1, max_size=60), count=st.integers(1, 12))
def test_parts_stay_together(tmp_path_factory: pytest.TempPathFactory, parts: list[str], count: int) -> None:
    out = tmp_path_factory.mktemp("plan")
    with ShardPlan(out) as plan:
        plan.add(pictures(parts), listed=False)
        shards = list(plan.shards(count))
        assert len(plan) == len(parts)
    seen = [one.name for shard in shards for one in shard.pictures]
    assert sorted(seen) == sorted(f"{number}.png" for number in range(len(parts)))
    homes: dict[str, set[int]] = {}
    for shard in shards:
        assert 0 <= shard.number < count
        for one in shard.pictures:
            homes.setdefault(one.picture.part, set()).add(shard.number)
    assert all(len(numbers) == 1 for numbers in homes.values())
    assert not list(out.iterdir()), "the plan leaves nothing behind"


def test_a_picture_comes_back_as_it_was(tmp_path: Path) -> None:
    more = (("lot", "=7"), ("camera", "top"))
    picture = Picture(
        Path("/a/b\udcff.png"), "p", "defective", "cut", part_known=True, product="red", name="b.png", more=more
    )
    with ShardPlan(tmp_path) as plan:
        plan.add([("b.png", picture)], listed=False)
        (shard,) = plan.shards(7)
        assert shard.pictures == (Planned("b.png", picture, None),)
        assert (shard.pictures[0].picture.more, shard.pictures[0].picture.part_known) == (more, True)
        assert shard.number == hash_of("p") * 7 // 2**32
        assert plan.columns() == ("lot", "camera")
        assert plan.products() == [("b.png", "red")]
        assert plan.part_of(["b.png", "gone.png"]) == {"b.png": "p"}


@pytest.mark.parametrize(
    ("count", "workers", "drawn", "expected"),
    [(1, 8, False, 1), (100, 2, False, 8), (10_000_000, 100, False, 39063), (320, 1, True, 10), (20, 8, False, 2)],
)
def test_how_many_shards(count: int, workers: int, drawn: bool, expected: int) -> None:
    """None larger than 256 on average, some for each worker, and none of a few pictures only."""
    assert shard_count(count, workers, drawn=drawn) == expected
