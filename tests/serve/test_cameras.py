"""Cameras: each trigger is one picture and one row; a camera that dies is an alarm, and comes back by itself."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sysconfig
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from serving import Serve, prepare
from support import Cli, wait_until
from test_plant import receiver, rows_of

from defectflow.errors import CameraError, SettingsError
from defectflow.image import read_image, read_raw
from defectflow.recipe import validated
from defectflow.serve import ServeSettings, write_secret
from defectflow.serve.camera_settings import AravisCamera, CameraSettings, FolderCamera, HttpCamera, OpenCvCamera
from defectflow.serve.cameras import try_camera
from defectflow.serve.cameras.aravis import decoded
from defectflow.serve.cameras.camera import source_of
from defectflow.serve.cameras.folder import FolderSource
from defectflow.serve.cameras.http import HttpSource
from defectflow.serve.cameras.opencv import OpenCvSource, shown_device
from defectflow.serve.settings import LimitSettings

MOST = 10**6


class Snapshots(ThreadingHTTPServer):
    """A network camera: it answers with one picture, and can be switched off."""

    daemon_threads = True

    def __init__(self, content: bytes, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), Answering)
        self.content = content
        self.status = 200
        self.pause_s = 0.0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/snapshot"


class Answering(BaseHTTPRequestHandler):
    server: Snapshots

    def do_GET(self) -> None:
        self.send_response(self.server.status)
        self.end_headers()
        for start in range(0, len(self.server.content), 1000):
            time.sleep(self.server.pause_s)
            try:
                self.wfile.write(self.server.content[start : start + 1000])
            except OSError:
                return

    def log_message(self, format: str, *words: object) -> None:
        """Not onto the tests' output."""


@contextmanager
def snapshots(content: bytes, port: int = 0) -> Iterator[Snapshots]:
    server = Snapshots(content, port)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


def test_a_line_of_cameras(serve: Serve, pictures: list[Path], tmp_path: Path) -> None:
    """Triggers, an interval and a key; one camera dies, is told to the plant and comes back; the others go on."""
    replayed, secret = tmp_path / "replayed", tmp_path / "mes.secret"
    replayed.mkdir()
    for path in pictures[:4]:
        shutil.copy(path, replayed)
    write_secret(secret)
    with receiver(secret) as mes, snapshots(pictures[4].read_bytes()) as network:
        port = network.server_port
        serving = serve(
            webhooks={"mes": {"url": mes.url, "secret": str(secret), "decisions": ["defect"]}},
            cameras={
                "top": {"folder": {"path": str(replayed), "pictures": "replay"}, "lot": "L1", "model": "strict"},
                "side": {"http": {"url": network.url}, "check_s": 0.5, "timeout_s": 2},
                "clock": {"folder": {"path": str(replayed), "pictures": "replay"}, "every_s": 0.5},
            },
        )
        with serving.http() as http, serving.http("viewer") as viewer:
            wait_until(lambda: http.get("/readyz").status_code == 200)
            first = http.post("/v1/cameras/top/trigger", params={"part": "17", "images": "mask"}).json()
            (row,) = first["inspections"]
            assert (row["file"], row["part"], row["lot"], row["camera"]) == (pictures[0].name, "17", "L1", "top")
            strict = next(one for one in http.get("/v1/models").json() if one["name"] == "strict")
            assert (row["calibration_id"], row["client"]) == (strict["calibration_id"], "operator")
            assert row["images"]["mask"]
            sent = http.post(
                "/v1/inspect", content=pictures[0].read_bytes(), params={"model": "strict", "name": pictures[0].name}
            ).json()
            assert sent["inspections"][0]["score"] == row["score"] and sent["inspections"][0]["sha256"] == row["sha256"]
            with ThreadPoolExecutor(3) as pool:
                together = list(pool.map(lambda _: http.post("/v1/cameras/top/trigger").json(), range(3)))
            assert sorted(one["inspections"][0]["file"] for one in together) == [path.name for path in pictures[1:4]]
            keyed = {"Idempotency-Key": "t-1"}
            side = http.post("/v1/cameras/side/trigger", headers=keyed).json()
            assert side["inspections"][0]["file"].startswith("side-") and not side["repeated"]
            again = http.post("/v1/cameras/side/trigger", headers=keyed).json()
            assert again["repeated"] and again["inspections"][0]["id"] == side["inspections"][0]["id"]
            assert http.post("/v1/cameras/top/trigger", headers=keyed).status_code == 422
            assert viewer.post("/v1/cameras/top/trigger").status_code == 403
            unknown = http.post("/v1/cameras/back/trigger")
            assert unknown.status_code == 404 and "clock, side, top" in unknown.json()["detail"]
            wait_until(lambda: len([row for row in rows_of(serving) if row.by == "camera clock"]) >= 3)

            network.shutdown()
            network.server_close()
            wait_until(lambda: http.get("/readyz").status_code == 503)
            refused = http.post("/v1/cameras/side/trigger")
            assert refused.status_code == 503 and network.url in refused.json()["detail"]
            assert http.post("/v1/cameras/top/trigger").status_code == 200, "the others go on"
            assert 'defectflow_camera_up{camera="side"} 0.0' in viewer.get("/metrics").text
            cameras = {one["name"]: one for one in viewer.get("/v1/cameras").json()}
            assert [cameras[name]["works"] for name in ("top", "side", "clock")] == [True, False, True]
            assert cameras["top"]["pictures"] == 5 and network.url in cameras["side"]["error"]
            wait_until(lambda: any(one["type"] == "alarm" for one in mes.kept))
            with snapshots(pictures[5].read_bytes(), port):
                wait_until(lambda: http.get("/readyz").status_code == 200)
                assert http.post("/v1/cameras/side/trigger").status_code == 200
                wait_until(lambda: len([one for one in mes.kept if one["type"] == "alarm"]) == 2)
                with serving.store() as store:
                    assert [alarm.raised for alarm in store.alarms.all()] == [True, False] and store.verify().passed
        alarms = [one["data"] for one in mes.kept if one["type"] == "alarm"]
        assert [(one["subject"], one["raised"]) for one in alarms[:2]] == [("side", True), ("side", False)]
    lines = (serving.folder / "log.txt").read_text().splitlines()
    assert len([line for line in lines if "ERROR" in line and "camera side" in line]) <= 2, "said once for each time"


def test_pictures_that_no_room_is_left_for_are_counted(serve: Serve, pictures: list[Path], tmp_path: Path) -> None:
    """An interval that the model cannot keep up with: the service says so, and answers its clients all the same."""
    settings = {
        "fast": {"folder": {"path": str(pictures[0].parent), "pictures": "replay"}, "every_s": 0.05},
    }
    serving = serve(cameras=settings, limits={"waiting": 1, "wait_s": 0.3})
    with serving.http("viewer") as viewer:
        wait_until(lambda: viewer.get("/v1/cameras").json()[0]["missed"] > 0)
        state = viewer.get("/v1/cameras").json()[0]
        assert state["works"] and state["pictures"] > 0
    assert "not inspected" in (serving.folder / "log.txt").read_text()


def test_a_folder_gives_each_new_file_once(pictures: list[Path], tmp_path: Path) -> None:
    shutil.copy(pictures[0], tmp_path / "old.png")
    source = FolderSource(FolderCamera(path=tmp_path, settled_s=0.05), MOST)
    source.open()
    with pytest.raises(CameraError, match=r"no new picture after 0.1 s \(timeout_s\)"):
        source.take(0.1)
    shutil.copy(pictures[1], tmp_path / "b.png")
    os.utime(tmp_path / "b.png", (time.time() - 60, time.time() - 60))
    half = pictures[2].read_bytes()
    (tmp_path / "a.png").write_bytes(half[: len(half) // 2])
    assert source.take(2).name == "b.png"
    threading.Timer(0.2, (tmp_path / "a.png").write_bytes, [half]).start()
    taken = source.take(5)
    assert (taken.name, taken.content) == ("a.png", half), "a half-written file is waited for"
    shutil.copy(pictures[3], tmp_path / "b.png")
    assert source.take(2).content == pictures[3].read_bytes(), "another picture of the same name"


def test_a_network_camera_that_answers_wrongly(pictures: list[Path], tmp_path: Path) -> None:
    with snapshots(pictures[0].read_bytes()) as network:
        source = HttpSource(HttpCamera(url=network.url), "side", 1, MOST)
        assert "pixels" in source.open() and source.take(1).content == pictures[0].read_bytes()
        network.pause_s, network.content = 0.3, pictures[0].read_bytes() * 3
        with pytest.raises(CameraError, match=r"has not come after 0\.5 s"):
            source.take(0.5)
        network.pause_s, network.content = 0, b"x" * 2 * MOST
        with pytest.raises(CameraError, match=r"over the limit of 1,000,000 bytes \(limits.picture_megabytes\)"):
            source.take(1)
        network.content = b"<html>sign in</html>"
        with pytest.raises(CameraError, match="no picture of a kind that can be read"):
            source.take(1)
        network.status = 401
        with pytest.raises(CameraError, match="answers 401"):
            source.take(1)
    with pytest.raises(SettingsError, match=r"cameras.side.http.password"):
        HttpSource(HttpCamera(url="http://x", username="u", password=tmp_path / "none"), "side", 1, MOST)


def video(file: Path, greys: list[int]) -> Path:
    writer = cv2.VideoWriter(str(file), cv2.VideoWriter.fourcc(*"FFV1"), 10, (96, 64))
    for grey in greys:
        writer.write(np.full((64, 96, 3), (grey, 0, 0), np.uint8))  # blue, as OpenCV orders it
    writer.release()
    return file


def test_a_video_file_plays_picture_by_picture_and_from_the_start_again(tmp_path: Path) -> None:
    file = video(tmp_path / "line.avi", [40, 120, 200])
    source = OpenCvSource(OpenCvCamera(device=str(file)), "film", 5)
    assert source.open().endswith("96 x 64 pixels")
    blues = []
    for _ in range(4):
        pixels = read_image(source.take(5).content)
        assert pixels.shape == (64, 96, 3) and pixels[..., 0].max() <= 2, "red and blue are not exchanged"
        blues.append(int(np.median(pixels[..., 2])))
    assert np.abs(np.array(blues) - [40, 120, 200, 40]).max() <= 3
    file.unlink()
    with pytest.raises(CameraError, match="the file is gone"):
        source.watch()
    source.close()
    with pytest.raises(CameraError, match="cannot be opened; is it there"):
        source.open()
    assert shown_device("rtsp://user:secret@cam.local/1") == "rtsp://cam.local/1"


class Stream(BaseHTTPRequestHandler):
    """An endless stream of JPEG pictures, as many network cameras send it; each is brighter than the one before."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        begun = time.monotonic()
        while True:
            grey = min(255, int((time.monotonic() - begun) * 40))
            content = cv2.imencode(".jpg", np.full((64, 96, 3), grey, np.uint8))[1].tobytes()
            head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(content)}\r\n\r\n".encode()
            try:
                self.wfile.write(head + content + b"\r\n")
            except OSError:
                return
            time.sleep(0.04)

    def log_message(self, format: str, *words: object) -> None:
        """Not onto the tests' output."""


def test_a_stream_gives_the_picture_of_now(tmp_path: Path) -> None:
    """What waited in the queue while nobody triggered is not taken for a new picture."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Stream)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    source = OpenCvSource(OpenCvCamera(device=f"http://127.0.0.1:{server.server_port}/stream.mjpg"), "live", 5)
    try:
        source.open()
        assert source.live
        first = int(np.median(read_image(source.take(5).content)))
        until = time.monotonic() + 2
        while time.monotonic() < until:
            source.watch()
        second = int(np.median(read_image(source.take(5).content)))
        assert second - first > 50, "two seconds later, 80 levels brighter"
    finally:
        source.close()
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("camera", "said"),
    [
        ({}, "nothing says where its pictures come from"),
        ({"folder": {"path": "x"}, "http": {"url": "http://x"}}, "folder and http says"),
        ({"http": {"url": "http://x"}, "evry_s": 1}, r"cameras.top.evry_s: no such setting; did you mean 'every_s'"),
        ({"http": {"ulr": "http://x"}}, "cameras.top.http"),
        ({"opencv": {"device": 0, "pixel_format": "MJPEG"}}, "cameras.top.opencv.pixel_format"),
        ({"aravis": {"trigger": "hardware"}, "every_s": 1}, "exclude each other"),
    ],
)
def test_settings_of_a_camera_that_cannot_work(camera: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        validated(ServeSettings, {"without_keys": True, "cameras": {"top": camera}}, "serve.yaml")


def test_check_opens_each_camera_once(
    models: Path, pictures: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: Cli
) -> None:
    monkeypatch.chdir(tmp_path)
    with snapshots(pictures[0].read_bytes()) as network:
        prepare(tmp_path, models, cameras={"side": {"http": {"url": network.url}}})
        done = cli("serve", "serve.yaml", "--check")
        assert done.code == 0 and f"camera side: {network.url}, 96 x 96 pixels" in done.out
    refused = cli("serve", "serve.yaml", "--check")
    assert refused.code == 2 and f"camera side: {network.url}" in refused.err


# ---- Aravis ---------------------------------------------------------------------------------------------------------

FAKE_CAMERA = shutil.which("arv-fake-gv-camera-0.8")


@pytest.fixture(scope="session")
def introspection(tmp_path_factory: pytest.TempPathFactory) -> Path | None:
    """A folder from which `gi` can be imported; None where it can be anyhow. The system's serves one Python only."""
    if importlib.util.find_spec("gi") is not None:
        return None
    folder = Path("/usr/lib/python3/dist-packages/gi")
    if not (folder / f"_gi{sysconfig.get_config_var('EXT_SUFFIX')}").is_file():
        pytest.skip("no gi for this Python's version: apt-get install python3-gi gir1.2-aravis-0.8")
    there = tmp_path_factory.mktemp("introspection")
    (there / "gi").symlink_to(folder)
    return there


@pytest.fixture
def aravis(introspection: Path | None, monkeypatch: pytest.MonkeyPatch) -> None:
    if introspection is not None:
        monkeypatch.syspath_prepend(str(introspection))
        monkeypatch.setenv("PYTHONPATH", f"{introspection}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    try:
        source_of("fake", CameraSettings(aravis=AravisCamera(device="Fake_1")), LimitSettings())
    except SettingsError as error:
        pytest.skip(str(error))


@pytest.mark.usefixtures("aravis")
@pytest.mark.parametrize("trigger", ["software", "free"])
def test_a_camera_of_aravis_gives_what_it_is_asked_for(trigger: Any) -> None:
    camera = AravisCamera(device="Fake_1", trigger=trigger, pixel_format="Mono16", exposure_us=4000)
    source = source_of("fake", CameraSettings(aravis=camera), LimitSettings())
    try:
        assert source.open() == "Aravis Fake, 512 x 512 pixels, Mono16"
        assert source.watch() is None
        frames = [source.take(5) for _ in range(3)]
        assert all(read_raw(frame.content).dtype == np.uint16 for frame in frames)
        assert len({frame.content for frame in frames}) == 3, "the fake camera's picture moves"
    finally:
        source.close()


@pytest.mark.usefixtures("aravis")
def test_a_camera_that_is_not_there_and_a_format_that_is_none() -> None:
    with pytest.raises(SettingsError, match=r"aravis.pixel_format: 'Mono7' cannot be read; use one of Mono8"):
        source_of("fake", CameraSettings(aravis=AravisCamera(pixel_format="Mono7")), LimitSettings())
    with pytest.raises(CameraError, match="camera fake: nobody"):
        try_camera("fake", CameraSettings(aravis=AravisCamera(device="nobody")), LimitSettings())


@pytest.mark.parametrize(("layout", "number"), [("RGGB", 9), ("GRBG", 8), ("GBRG", 10), ("BGGR", 11)])
def test_a_mosaic_has_the_colours_of_its_scene(layout: str, number: int) -> None:
    colours = {"R": 200, "G": 120, "B": 40}
    tile = np.array([[colours[layout[0]], colours[layout[1]]], [colours[layout[2]], colours[layout[3]]]], np.uint8)
    pixels = decoded(np.tile(tile, (8, 8)).tobytes(), 16, 16, 0x01080000 + number, "fake")
    assert pixels.shape == (16, 16, 3) and pixels[8, 8].tolist() == [40, 120, 200]


@pytest.mark.usefixtures("aravis")
@pytest.mark.skipif(FAKE_CAMERA is None, reason="arv-fake-gv-camera-0.8 is not installed: apt-get install aravis-tools")
def test_a_gige_camera_that_loses_its_power_comes_back(serve: Serve) -> None:
    """A real process that speaks GigE Vision on this machine's own address."""

    @contextmanager
    def powered() -> Iterator[None]:
        process = subprocess.Popen([str(FAKE_CAMERA), "-i", "127.0.0.1"])
        try:
            yield
        finally:
            process.kill()
            process.wait()

    with powered():
        camera = {"device": "127.0.0.1", "pixel_format": "BayerRG8", "exposure_us": 5000}
        serving = serve(cameras={"gige": {"aravis": camera, "check_s": 0.5, "timeout_s": 3}})
        with serving.http() as http:
            wait_until(lambda: http.get("/readyz").status_code == 200)
            (row,) = http.post("/v1/cameras/gige/trigger", params={"part": "7"}).json()["inspections"]
            assert (row["part"], row["camera"], row["width_px"]) == ("7", "gige", 512)
    with serving.http() as http:
        wait_until(lambda: http.get("/readyz").status_code == 503)
        assert http.post("/v1/cameras/gige/trigger").status_code == 503
        with powered():
            wait_until(lambda: http.get("/readyz").status_code == 200)
            assert http.post("/v1/cameras/gige/trigger").status_code == 200
    with serving.store() as store:
        assert [alarm.raised for alarm in store.alarms.all()][:2] == [True, False]
