"""What a drop takes and refuses, from single bytes to ZIP bombs."""

from __future__ import annotations

import asyncio
import signal
import struct
import zipfile
import zlib
from collections.abc import AsyncIterator, Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from defectflow_ui.settings import Limits
from defectflow_ui.visits import uploads, zips
from defectflow_ui.visits.drops import Drops
from defectflow_ui.visits.uploads import Arrived, Drop
from defectflow_ui.visits.zips import directory_bytes
from dropping import png, send, zipped
from PIL import Image
from running import Running, finish
from starlette.requests import ClientDisconnect

from defectflow.errors import DataError


def huge_png(width: int, height: int) -> bytes:
    """A few bytes that claim to be a picture of many pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.fixture
def drop() -> Iterator[Drop]:
    made = Drop(Limits(file_bytes=200_000, drop_bytes=400_000, files=5, pixels=1_000_000))
    yield made
    made.close()
    assert not made.folder.exists()


def refusal(arrived: list[Arrived]) -> str:
    (only,) = arrived
    assert only.file is None
    assert only.error is not None
    assert str(only.error).startswith(only.name)
    return str(only.error)


def files(drop: Drop) -> list[Path]:
    return [path for path in drop.folder.rglob("*") if path.is_file()]


def test_a_picture_is_kept_under_a_number(drop: Drop) -> None:
    (arrived,) = send(drop, "../../etc/Müller 1.PNG", png())
    assert arrived.file == drop.folder / "000001.png"
    assert arrived.file.read_bytes() == png()
    assert arrived.name == "../../etc/Müller 1.PNG".strip("/")


def test_what_cannot_be_a_picture_stops_nothing(drop: Drop) -> None:
    assert "not a PNG" in refusal(send(drop, "notes.txt", b"hello"))
    assert "empty" in refusal(send(drop, "nothing.png", b""))
    assert "damaged" in refusal(send(drop, "cut.png", png()[:40]))
    assert send(drop, "good.png", png())[0].file is not None
    assert len(files(drop)) == 1, "refused files are removed at once"


def test_bytes_are_limited_while_they_arrive(drop: Drop) -> None:
    taken = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal taken
        while True:
            taken += 10_000
            yield b"x" * 10_000

    finish(drop.receive("big.png", endless()))
    assert "over the limit" in refusal(drop.take(0, 0)[0])
    assert taken <= 220_000
    assert files(drop) == []


def test_all_files_together_are_limited(drop: Drop) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (220, 220, 3), np.uint8)
    stream = BytesIO()
    Image.fromarray(noise).save(stream, "png")
    assert 100_000 < len(stream.getvalue()) < 200_000
    answers = [send(drop, f"{number}.png", stream.getvalue())[0] for number in range(3)]
    assert [answer.file is not None for answer in answers] == [True, True, False]
    assert "this drop is over the limit" in str(answers[2].error)


def test_pixels_are_limited_before_decoding(drop: Drop) -> None:
    said = refusal(send(drop, "claims.png", huge_png(100_000, 100_000)))
    assert "100000 x 100000 pixels are over the limit of 1,000,000" in said


def test_the_count_is_limited(drop: Drop) -> None:
    for number in range(5):
        assert send(drop, f"{number}.png", png(number))[0].file is not None
    assert "may hold 5 pictures" in refusal(send(drop, "6.png", png(6)))


def test_a_zip_is_unpacked_into_numbers(drop: Drop) -> None:
    content = {"day/a.png": png(1), "day/b.png": png(2), "day/cut.png": png(3)[:50], "notes.txt": b"no picture"}
    content |= {"__MACOSX/day/._a.png": b"resource fork", "day/.hidden.png": png(4)}
    arrived = send(drop, "batch.zip", zipped(content))
    assert [(one.name, one.file is not None) for one in arrived] == [
        ("batch.zip/day/a.png", True),
        ("batch.zip/day/b.png", True),
        ("batch.zip/day/cut.png", False),
    ]
    assert {path.parent for path in files(drop)} == {drop.folder}
    assert drop.skipped == [
        "batch.zip: 3 files skipped: notes.txt (no picture); __MACOSX/day/._a.png, day/.hidden.png (hidden)"
    ]


def test_a_zip_is_searched_by_content(drop: Drop) -> None:
    """As folders are: a picture is one under any name, and of another kind it is refused by name."""
    content = {"scan": png(1), "b.jfif": png(2), "c.gif": b"GIF89a" + bytes(40), "d.dat": b"BM, a text"}
    content["inner.zip"] = zipped({"e.png": png(3)})
    arrived = send(drop, "batch.zip", zipped(content))
    assert [(one.name, one.file is not None) for one in arrived] == [
        ("batch.zip/scan", True),
        ("batch.zip/b.jfif", True),
        ("batch.zip/c.gif", False),
    ]
    assert "GIF" in str(arrived[2].error)
    assert drop.skipped == [
        "batch.zip: 2 files skipped: d.dat (no picture); inner.zip (a ZIP within the ZIP, which is not opened: drop it "
        "by itself)"
    ]


def test_many_files_that_are_no_pictures_are_not_all_looked_into(drop: Drop) -> None:
    assert "more than 5" in refusal(send(drop, "many.zip", zipped({f"{n}": b"" for n in range(51)})))


@pytest.mark.parametrize("name", ["../a.png", "x/../../a.png", "/etc/a.png", "..\\a.png", "C:/a.png", "C:\\a.png"])
def test_a_zip_that_leaves_its_folder_is_refused_whole(drop: Drop, name: str) -> None:
    assert "would lie outside" in refusal(send(drop, "evil.zip", zipped({"good.png": png(), name: png(1)})))
    assert files(drop) == []


def test_a_zip_bomb_is_refused_whole() -> None:
    bomb = zipped({"good.png": png(), "zeros.png": bytes(20_000_000)})
    assert len(bomb) < 100_000
    drop = Drop(Limits())
    assert "would unpack to far more" in refusal(send(drop, "bomb.zip", bomb))
    assert files(drop) == []
    drop.close()


def test_a_zip_with_too_much_in_it_is_refused_whole(drop: Drop) -> None:
    assert "more than 5" in refusal(send(drop, "many.zip", zipped({f"{n}.png": png(n) for n in range(6)})))
    assert "more than 5" in refusal(send(drop, "names.zip", zipped({f"{'x' * 150}{n}.txt": b"" for n in range(400)})))
    random = np.random.default_rng(0)
    large = {f"{number}.png": random.bytes(150_000) for number in range(3)}
    assert "over the limit" in refusal(send(drop, "large.zip", zipped(large)))


def test_a_zip_that_lies_about_its_sizes_gives_no_more_than_it_said(drop: Drop) -> None:
    """The directory says 1,000 bytes, the entry holds many more: it is cut there, and so no picture."""
    honest = zipped({"a.png": png() + bytes(50_000)})
    size = len(png()) + 50_000
    lying = honest.replace(struct.pack("<I", size), struct.pack("<I", 1000))
    assert lying != honest
    (arrived,) = send(drop, "lying.zip", lying)
    assert arrived.file is None
    assert files(drop) == []


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_way_to_pack_whose_unpacking_has_no_bound_is_refused_whole(drop: Drop, method: int) -> None:
    said = refusal(send(drop, "odd.zip", zipped({"good.png": png(), "notes.txt": b"x"}, method)))
    assert "zip it with Deflate" in said


def test_a_damaged_entry_stops_no_other(drop: Drop) -> None:
    broken = bytearray(zipped({"a.png": bytes(range(256)) * 50, "b.png": png()}))
    start = broken.find(b"a.png") + len(b"a.png")
    broken[start : start + 6] = b"\xff" * 6
    first, second = send(drop, "batch.zip", bytes(broken))
    assert "cannot be unpacked" in str(first.error)
    assert second.file is not None


@pytest.mark.parametrize("name", [".", "é.png"])
def test_odd_names_in_a_zip_are_answered(drop: Drop, name: str) -> None:
    content = zipped({"good.png": png()} | {name: b"x"}).replace("é".encode(), b"\xff\xfe")
    assert send(drop, "odd.zip", content), "taken or refused, but never passed over in silence"


def test_files_that_come_at_the_same_time_share_the_limits(drop: Drop) -> None:
    """As a browser sends them: all begun before any has ended."""

    async def slowly(content: bytes) -> AsyncIterator[bytes]:
        for start in range(0, len(content), 1000):
            await asyncio.sleep(0)
            yield content[start : start + 1000]

    async def together(contents: list[bytes]) -> None:
        await asyncio.gather(*(drop.receive(f"{n}.png", slowly(content)) for n, content in enumerate(contents)))

    finish(together([png(number) for number in range(12)]))
    assert len(files(drop)) == 5
    finish(together([bytes(150_000)] * 12))
    assert sum(path.stat().st_size for path in files(drop)) <= 400_000
    assert len(drop.take(0, 0)[0]) == 24, "each one is answered"


def test_a_full_disk_is_told_and_stops_nothing(drop: Drop) -> None:
    resource = pytest.importorskip("resource", reason="needs a limit on the size of files")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
        said = refusal(send(drop, "large.png", bytes(100_000)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert "see that files can be written on the station" in said, "a limit of its own: no room would help"
    assert send(drop, "small.png", png())[0].file is not None


def test_damaged_and_nested_zips(drop: Drop) -> None:
    assert "damaged" in refusal(send(drop, "cut.zip", zipped({"a.png": png()})[:60]))
    nested = refusal(send(drop, "nested.zip", zipped({"inner.zip": zipped({"a.png": png()})})))
    assert nested.startswith("nested.zip: holds no pictures; 1 file skipped: inner.zip (a ZIP within the ZIP")
    assert refusal(send(drop, "empty.zip", zipped({}))) == "empty.zip: is an empty ZIP"
    assert refusal(send(drop, "folder.zip", zipped({"day/": b""}))) == "folder.zip: is an empty ZIP"
    assert files(drop) == []


def test_a_file_that_is_sent_again_counts_once(drop: Drop) -> None:
    """The browser got no answer the first time, though the file had arrived."""
    (first,) = send(drop, "a.png", png(), 7)
    assert send(drop, "a.png", png(), 7) == []
    drop.lose("a.png", 7)
    assert drop.take(0, 0)[0] == [first]
    assert files(drop) == [first.file]


def test_a_file_that_never_arrives_is_told(drop: Drop) -> None:
    drop.lose("street/a.png", 3)
    drop.lose("street/a.png", 3)
    assert "did not arrive" in refusal(drop.take(0, 0)[0])
    assert send(drop, "street/a.png", png(), 3) == [], "it has its row already"


def test_half_a_file_leaves_nothing_behind(drop: Drop) -> None:
    async def disconnected() -> AsyncIterator[bytes]:
        yield bytes(150_000)
        raise ClientDisconnect

    for _ in range(5):
        with pytest.raises(ClientDisconnect):
            finish(drop.receive("a.png", disconnected(), 0))
    assert files(drop) == []
    assert send(drop, "a.png", png(), 0)[0].file is not None, "it does not count against the limit of bytes"


def test_a_browser_that_falls_silent_is_not_waited_for() -> None:
    drop = Drop(Limits(), idle_s=1.0)
    (arrived,) = send(drop, "a.png", png())
    assert not drop.ended
    assert drop.take(1, 1.5) == ([], True)
    assert drop.abandoned
    assert arrived.file is not None and arrived.file.is_file(), "what it had sent stays"
    drop.close()


def test_an_end_is_no_silence() -> None:
    drop = Drop(Limits(), idle_s=0.1)
    drop.end()
    assert drop.take(0, 0.2) == ([], True)
    assert not drop.abandoned
    drop.close()


def test_drops_are_bounded_and_none_that_is_looked_at_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    drops, limits = Drops(), Limits(open_drops=3, session_bytes=2 * len(png()))
    sending = [drops.open(limits) for _ in range(3)]
    with pytest.raises(DataError, match="3 drops are being sent"):
        drops.open(limits)
    (kept,) = send(sending[0], "a.png", png())
    for drop in sending:
        drop.end()
    send(drops.open(limits), "b.png", png())
    with pytest.raises(DataError, match="press Clear"):
        drops.open(limits)
    monkeypatch.setattr(uploads, "UNREAD_S", -1)
    sending[1].take(0, 0)
    sending[0].close()
    again = drops.open(limits)
    assert set(drops.values()) >= {sending[1], again}
    assert sending[2] not in drops.values(), "nobody has ever asked for it"
    assert kept.file is not None and not kept.file.exists()
    for drop in list(drops.values()):
        drop.close()


def test_the_routes_of_a_drop(local: Running) -> None:
    client = local.client()
    token = client.post("/drop").json()["drop"]
    for _ in range(2):  # the second time for want of an answer
        assert client.post(f"/drop/{token}?name=a.png&number=0", content=png()).status_code == 200
    assert client.post(f"/drop/{token}/lost?name=b.png&number=1").status_code == 200
    assert client.post(f"/drop/{token}/lost?name=b.png&number=many").status_code == 404
    (drop,) = [session.drops[token] for session in local.station.sessions if token in session.drops]
    assert [(one.name, one.file is not None) for one in drop.take(0, 0)[0]] == [("a.png", True), ("b.png", False)]
    assert client.post(f"/drop/{token}/end").status_code == 200
    for late in (f"/drop/{token}?name=c.png", f"/drop/{token}/lost?name=c.png&number=2", f"/drop/{token}/end"):
        assert client.post(late).status_code == 410
    opened = [client.post("/drop") for _ in range(17)]
    assert [answer.status_code for answer in opened] == [200] * 16 + [409]
    assert "16 drops are being sent" in opened[-1].text
    tokens = [answer.json()["drop"] for answer in opened[:-1]]
    assert client.post(f"/drop/{tokens[0]}/end").status_code == 200
    assert client.post("/drop").status_code == 200
    assert drop.folder.exists(), "no later drop has taken its place"
    client.close()


def test_a_drop_can_be_waited_for(drop: Drop) -> None:
    assert drop.take(0, 0.01) == ([], False)
    send(drop, "a.png", png())
    drop.end()
    arrived, ended = drop.take(0, 1)
    assert len(arrived) == 1
    assert ended


def noise_png(seed: int) -> bytes:
    """A picture of about 145 kB that no packing makes smaller."""
    stream = BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (220, 220, 3), np.uint8)).save(stream, "png")
    return stream.getvalue()


def test_what_was_refused_counts_no_longer(drop: Drop) -> None:
    for number in range(4):
        assert "not a PNG" in refusal(send(drop, f"notes{number}.txt", bytes(150_000)))
    assert drop.size == 0
    assert send(drop, "a.png", noise_png(0))[0].file is not None
    assert drop.size == sum(path.stat().st_size for path in files(drop))


def test_a_zip_does_not_count_beside_its_contents() -> None:
    drop = Drop(Limits(file_bytes=400_000, drop_bytes=400_000))
    arrived = send(drop, "batch.zip", zipped({f"{seed}.png": noise_png(seed) for seed in range(2)}))
    assert [one.file is not None for one in arrived] == [True, True]
    assert drop.size == sum(path.stat().st_size for path in files(drop))
    assert "this drop is over the limit" in refusal(send(drop, "one more.png", noise_png(2)))
    drop.close()


def test_a_directory_is_measured_as_zipfile_reads_it(tmp_path: Path) -> None:
    """Whatever the usual record says: where there is one of ZIP64, that one is believed."""
    file = tmp_path / "a.zip"
    with zipfile.ZipFile(file, "w") as archive:
        for number in range(200):
            archive.writestr(f"{number}.png", b"")
    usual = file.read_bytes()
    at = usual.rfind(zips.ZIP_END)
    size, offset = struct.unpack("<LL", usual[at + 12 : at + 20])
    assert directory_bytes(file) == size
    record = struct.pack("<4sQHHLLQQQQ", zips.ZIP64_END, 44, 45, 45, 0, 0, 200, 200, size, offset)
    locator = struct.pack("<4sLQL", zips.ZIP64_LOCATOR, 0, at, 1)
    liar = struct.pack("<4s4H2LH", zips.ZIP_END, 0, 0, 0xFFFF, 0xFFFF, 0, 0xFFFFFFFF, 0)
    file.write_bytes(usual[:at] + record + locator + liar)
    with zipfile.ZipFile(file) as archive:
        assert len(archive.infolist()) == 200
    assert directory_bytes(file) == size
    file.write_bytes(usual[:at] + locator + liar)  # a record that lies elsewhere may say anything
    assert directory_bytes(file) == file.stat().st_size
