"""Kills, repeats, full queues, slow clients, changing models: every accepted request has one answer and one row."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from serving import Serve, Serving

from defectflow.bundle import open_bundle
from defectflow.client import Answer
from defectflow.data import find_pictures
from defectflow.errors import ServiceError
from defectflow.gauge import register_masters
from defectflow.line import Inspector, recalibrate
from defectflow.serve.run import bind
from defectflow.serve.settings import ServeSettings
from defectflow.store import GoldenSettings, Query, StoreSettings
from defectflow.verdict import Verdict


def sent(serving: Serving, path: Path, key: str | None = None) -> Answer | ServiceError:
    """One attempt."""
    with serving.client(attempts=1) as client:
        try:
            return client.inspect(path, idempotency_key=key)
        except ServiceError as error:
            return error


def test_a_repeated_key_is_answered_from_the_store(shared: Serving, pictures: list[Path]) -> None:
    content, other = pictures[0].read_bytes(), pictures[1].read_bytes()
    with shared.http() as http, shared.http("engineer") as engineer, shared.store() as store:
        headers = {"Idempotency-Key": "trigger 7"}
        first = http.post("/v1/inspect", content=content, headers=headers).json()
        before = store.history.count()
        again = http.post("/v1/inspect", content=content, headers=headers).json()
        assert (first["repeated"], again["repeated"]) == (False, True)
        assert again["inspections"] == first["inspections"]
        refused = http.post("/v1/inspect", content=other, headers=headers)
        assert refused.status_code == 422 and "trigger 7" in refused.json()["detail"]
        refused = http.post("/v1/inspect", content=content, params={"lot": "L9"}, headers=headers)
        assert refused.status_code == 422
        assert store.history.count() == before
        assert not engineer.post("/v1/inspect", content=other, headers=headers).json()["repeated"], "another client's"


def test_the_same_key_from_many_at_once(shared: Serving, pictures: list[Path]) -> None:
    with shared.store() as store, ThreadPoolExecutor(8) as pool:
        before = store.history.count()
        answers = list(pool.map(lambda _: sent(shared, pictures[2], "at once"), range(8)))
        assert store.history.count() == before + 1
    assert len({answer.inspections[0].id for answer in answers if isinstance(answer, Answer)}) == 1
    assert all(isinstance(answer, Answer) for answer in answers), answers


def test_a_kill_loses_and_doubles_nothing(
    serve: Serve, pictures: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed with requests in every state; asked again under their keys, each has one row, and the answers agree."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    asked = {f"trigger {number}": pictures[number % len(pictures)] for number in range(60)}
    serving = serve()
    answered: dict[str, Answer] = {}
    enough = threading.Event()

    def ask(key: str) -> None:
        answer = sent(serving, asked[key], key)
        if isinstance(answer, Answer):
            answered[key] = answer
        if len(answered) >= 20:
            enough.set()

    with ThreadPoolExecutor(16) as pool:
        for key in asked:
            pool.submit(ask, key)
        assert enough.wait(60)
        serving.kill()
    assert 20 <= len(answered) < 60
    (left,) = tmp_path.glob("defectflow-serve-*")
    os.utime(left, (time.time() - 3600,) * 2)
    again = serve()
    assert not left.exists(), "what the killed one left is removed"
    for key, path in asked.items():
        answer = sent(again, path, key)
        assert isinstance(answer, Answer), answer
        if key in answered:
            assert answer.repeated
            assert answer.inspections == answered[key].inspections
    with again.store() as store:
        rows = store.history.search(Query(limit=1000))
        assert len(rows) == 60
        assert store.verify().passed


def test_a_full_queue_says_when_to_come_again(serve: Serve, pictures: list[Path]) -> None:
    serving = serve(limits={"waiting": 1})
    files = [("file", (path.name, path.read_bytes())) for path in pictures[:10]]

    def ask(_: int) -> httpx.Response:
        with serving.http() as http:
            return http.post("/v1/inspect", files=files)

    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(ask, range(24)))
    codes = [answer.status_code for answer in answers]
    assert set(codes) == {200, 429}
    for answer in answers:
        if answer.status_code == 429:
            assert int(answer.headers["retry-after"]) >= 1
            assert "limits.waiting" in answer.json()["detail"]
    with serving.store() as store:
        assert store.history.count() == 10 * codes.count(200)
    with serving.http("viewer") as http:
        assert f'refused_requests_total{{status="429"}} {float(codes.count(429))}' in http.get("/metrics").text
    with serving.client() as client, ThreadPoolExecutor(4) as pool:
        patient = list(pool.map(client.inspect, pictures[:8]))
    assert len(patient) == 8, "who comes again is served"


def test_limits_of_time_and_rate(serve: Serve, pictures: list[Path]) -> None:
    serving = serve(limits={"wait_s": 1e-9, "receive_s": 0.5, "requests_per_s": 3})
    refused = sent(serving, pictures[0])
    assert isinstance(refused, ServiceError) and refused.status == 503
    assert "limits.wait_s" in str(refused)
    host, port = httpx.URL(serving.url).host, httpx.URL(serving.url).port
    with socket.create_connection((host, port or 0)) as slow:
        head = f"POST /v1/inspect HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {serving.keys['operator']}\r\n"
        slow.sendall(f"{head}Content-Length: 100\r\n\r\nhalf".encode())
        slow.settimeout(30)
        assert slow.recv(100).startswith(b"HTTP/1.1 408")
    with serving.http("viewer") as http:
        answers = [http.get("/v1/inspections/1") for _ in range(8)]
    assert [answer.status_code for answer in answers].count(429) >= 3
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in answers if answer.status_code == 429)
    with serving.store() as store:
        assert store.history.count() == 0


def test_activation_and_roll_back_while_requests_run(serve: Serve, pictures: list[Path]) -> None:
    """Each answer names the calibration that gave it, and has its thresholds; after a change, the new one judges."""
    serving = serve()
    bundles = {name: open_bundle(serving.folder / "models" / name) for name in ("bracket", "strict")}
    thresholds = {
        bundle.card.calibration_id: bundle.card.require_calibration().threshold.value for bundle in bundles.values()
    }
    over = threading.Event()
    answers: list[Answer] = []

    def ask(number: int) -> None:
        with serving.client() as client:
            while not over.is_set():
                answers.append(client.inspect(pictures[number]))

    with ThreadPoolExecutor(4) as pool, serving.store() as store, serving.client() as client:
        asking = [pool.submit(ask, number) for number in range(4)]
        try:
            for name in ("strict", "bracket", "strict"):
                store.versions.activate(bundles[name], by="anna", reason="a trial")
                found = client.inspect(pictures[5]).inspections[0]
                assert found.calibration_id == bundles[name].card.calibration_id
            before = store.versions.get(bundles["strict"].card.bundle_id, str(bundles["strict"].card.calibration_id))
            changed = recalibrate(bundles["strict"], rate=0.3, guarantee="expected", review_rate=0.6)
            thresholds[changed.card.calibration_id] = changed.card.require_calibration().threshold.value
            assert client.inspect(pictures[5]).inspections[0].calibration_id == changed.card.calibration_id
            store.versions.apply(changed, before, by="anna", reason="the way back")
            assert client.inspect(pictures[5]).inspections[0].calibration_id == before.calibration_id
        finally:
            over.set()
        for one in asking:
            one.result()
        assert store.verify().passed
    assert len(thresholds) == 3
    for answer in answers:
        (found,) = answer.inspections
        assert found.threshold == pytest.approx(thresholds[found.calibration_id])


def test_a_damaged_model_is_no_answer_and_comes_back(serve: Serve, pictures: list[Path]) -> None:
    serving = serve()
    model = serving.folder / "models" / "bracket" / "model.onnx"
    good = model.read_bytes()
    model.write_bytes(good[:-100])
    refused = sent(serving, pictures[0])
    assert isinstance(refused, ServiceError) and refused.status == 503
    assert "damaged" in str(refused)
    with serving.http() as http:
        assert http.get("/readyz").status_code == 503
        assert http.get("/healthz").status_code == 200
        error = next(one["error"] for one in http.get("/v1/models").json() if one["name"] == "bracket")
        assert "damaged" in error
    model.write_bytes(good)
    assert isinstance(sent(serving, pictures[0]), Answer)


def test_no_more_models_are_kept_than_allowed(serve: Serve, pictures: list[Path]) -> None:
    serving = serve(warm_models=1)
    with serving.client() as client, serving.http() as http:
        for name in ("bracket", "strict", "bracket"):
            client.inspect(pictures[0], model=name)
            assert [one["name"] for one in http.get("/v1/models").json() if one["warm"]] == [name]


def test_a_stop_answers_what_was_accepted(serve: Serve, pictures: list[Path]) -> None:
    serving = serve()
    with ThreadPoolExecutor(8) as pool:
        asking = [pool.submit(sent, serving, path) for path in pictures]
        while not any(one.done() for one in asking):
            time.sleep(0.005)
        serving.process.send_signal(signal.SIGTERM)
        found = [one.result() for one in asking]
    assert serving.process.wait(60) == 0
    answered = [one.inspections[0].id for one in found if isinstance(one, Answer)]
    with serving.store() as store:
        assert sorted(row.id for row in store.history.search(Query(limit=1000))) == sorted(answered)


def test_a_store_that_cannot_be_written_gives_no_verdict(serve: Serve, pictures: list[Path]) -> None:
    serving = serve()
    with serving.store() as store, store.database.writing() as connection:
        connection.exec_driver_sql(
            "CREATE TRIGGER full BEFORE INSERT ON inspections BEGIN SELECT RAISE(ABORT, 'the disk is full'); END"
        )
    refused = sent(serving, pictures[0])
    assert isinstance(refused, ServiceError) and refused.status == 503
    assert "the disk is full" in str(refused)
    with serving.store() as store, store.database.writing() as connection:
        connection.exec_driver_sql("DROP TRIGGER full")
    assert isinstance(sent(serving, pictures[0]), Answer)


def test_a_picture_that_finds_no_room_is_refused(serve: Serve, pictures: list[Path]) -> None:
    resource = pytest.importorskip("resource")
    serving = serve()
    before = resource.prlimit(serving.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(serving.process.pid, resource.RLIMIT_FSIZE, (100, before[1]))
    content = pictures[0].read_bytes()
    with serving.http() as http:
        for body in ({"content": content}, {"files": {"file": ("a.png", content)}}):
            refused = http.post("/v1/inspect", **body)
            assert refused.status_code == 507
            assert "an arriving picture cannot be written (File too large)" in refused.json()["detail"]
    resource.prlimit(serving.process.pid, resource.RLIMIT_FSIZE, before)
    assert isinstance(sent(serving, pictures[0]), Answer)


def test_metrics_and_the_page_about_the_interface(serve: Serve, pictures: list[Path]) -> None:
    serving = serve("--set", "drift_s=1")
    with serving.client() as client, serving.http("viewer") as http:
        words = [client.inspect(path).decision for path in pictures]
        deadline = time.monotonic() + 30
        while 'drift_evidence{model="swatch"} 0.0' in (text := http.get("/metrics").text):
            assert time.monotonic() < deadline
            time.sleep(0.2)
        for word in set(words):
            assert f'inspections_total{{decision="{word}",model="swatch"}} {float(words.count(word))}' in text
        assert f"request_seconds_count {float(len(words))}" in text
        assert "queue_pictures 0.0" in text
        page = http.get("/docs")
        assert "default-src 'none'" in page.headers["content-security-policy"]
        assert "POST /v1/inspect" in page.text and "p_value" in page.text
        for loads in ("src=", "http://", "https://", "<link", "<script"):
            assert loads not in page.text
        described = http.get("/openapi.json").json()
        assert set(described["paths"]["/v1/inspect"]["post"]["requestBody"]["content"]) == {
            "image/*",
            "multipart/form-data",
        }


def test_answers_are_not_held_back() -> None:
    """asyncio switches Nagle's algorithm off only where a socket says that it is TCP; else an answer waits 40 ms."""
    with bind(ServeSettings(without_keys=True, port=0)) as bound:
        assert bound.proto == socket.IPPROTO_TCP


def test_a_line_whose_master_parts_were_not_checked_stands(serve: Serve, pictures: list[Path]) -> None:
    """503 while the store asks for a check and there is no good one; and again once its hours are over."""
    serving = serve()
    with serving.http() as http, serving.store() as store:
        content = pictures[0].read_bytes()
        assert http.post("/v1/inspect", content=content).status_code == 200
        store.configure(StoreSettings(golden=GoldenSettings(hours=8)), by="anna")
        refused, before = http.post("/v1/inspect", content=content), store.history.count()
        assert refused.status_code == 503 and "swatch is not released" in refused.json()["detail"]
        assert "Retry-After" in refused.headers and http.get("/readyz").status_code == 503
        inspector = Inspector(serving.folder / "models" / "bracket", threads=1)
        masters = find_pictures(pictures[1])
        (judged,) = inspector.inspect([pictures[1]])
        assert isinstance(judged, Verdict)
        register_masters(store, inspector, masters, by="anna", expect={pictures[1].stem: judged.decision.word})
        assert http.post("/v1/inspect", content=content).status_code == 200
        assert http.get("/readyz").status_code == 200
        other = http.post("/v1/inspect", content=content, params={"model": "strict"})
        assert other.status_code == 503, "each set of thresholds is checked by itself"
        store.configure(StoreSettings(golden=GoldenSettings(hours=1e-6)), by="anna")
        assert "older than" in http.post("/v1/inspect", content=content).json()["detail"]
        assert store.history.count() == before + 1, "what is refused is not recorded"
