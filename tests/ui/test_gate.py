"""Safe by default: what a station refuses, over plain HTTP, as somebody would who does not use the page."""

from __future__ import annotations

import json
from pathlib import Path

import gradio as gr
import httpx
import pytest
from defectflow_ui.markup.elements import block
from defectflow_ui.settings import Settings
from defectflow_ui.start import open_station
from defectflow_ui.station import handler
from defectflow_ui.web import server, sign_in
from running import PASSWORD, Running, call
from support import DEFECTFLOW, run

from defectflow.errors import DataError, StoreError
from defectflow.store import Role, Store


def test_it_says_nothing_about_itself_to_strangers(guarded: Running) -> None:
    stranger = httpx.Client(base_url=guarded.url)
    for path in ("/config", "/gradio_api/info", "/served/abc", "/theme.css", "/assets/index.js"):
        assert stranger.get(path).status_code == 401, path
    assert stranger.get("/").headers["location"] == "/sign-in"
    for path in ("/gradio_api/queue/join", "/drop"):
        assert stranger.post(path, json={}).status_code == 401, path
    assert "password" in stranger.get("/sign-in").text


def test_a_viewer_is_refused_by_the_server(guarded: Running) -> None:
    viewer, engineer = guarded.client("viewer"), guarded.client("engineer")
    for client in (viewer, engineer):
        assert call(client, "bundles", "bundle", [""], {"bundle": "ring"})["success"]
    refused = call(viewer, "activate", "click", [""])
    assert not refused["success"]
    assert "needs the role 'engineer', and yours is 'viewer'" in refused["output"]["error"]
    assert guarded.station.store.versions.active() is None
    assert not call(viewer, "verify", "click", [])["success"]
    assert viewer.post("/drop").status_code == 403
    assert call(engineer, "activate", "click", [""])["success"]
    activation = guarded.station.store.versions.active()
    assert activation is not None
    assert (activation.model, activation.by) == ("ring", "engineer")


def test_an_operator_inspects_and_does_not_activate(guarded: Running) -> None:
    operator = guarded.client("operator")
    assert operator.post("/drop").status_code == 200
    call(operator, "bundles", "bundle", [""], {"bundle": "ring"})
    assert not call(operator, "activate", "click", [""])["success"]


def test_a_changed_role_counts_at_once(guarded: Running) -> None:
    users = guarded.station.store.users
    users.add("temp", Role.OPERATOR, PASSWORD, by="test")
    client = guarded.client("temp")
    assert client.post("/drop").status_code == 200
    users.set_role("temp", Role.VIEWER, by="test")
    assert client.post("/drop").status_code == 403
    users.remove("temp", by="test")
    assert client.post("/drop").status_code == 401


def test_a_changed_password_ends_sessions_at_once(guarded: Running) -> None:
    users = guarded.station.store.users
    users.add("leaked", Role.OPERATOR, PASSWORD, by="test")
    client = guarded.client("leaked")
    users.set_role("leaked", Role.ENGINEER, by="test")
    assert client.get("/config").status_code == 200, "a role is no password"
    users.set_password("leaked", PASSWORD, by="test")
    assert client.get("/config").status_code == 401
    client = guarded.client("leaked")
    users.remove("leaked", by="test")
    users.add("leaked", Role.OPERATOR, PASSWORD, by="test")
    assert client.get("/config").status_code == 401, "somebody else by the same name"


def test_sessions_are_apart(guarded: Running) -> None:
    first, second = guarded.client("operator"), guarded.client("engineer")
    drop = first.post("/drop").json()["drop"]
    assert first.post(f"/drop/{drop}?name=a.txt", content=b"x").status_code == 200
    assert second.post(f"/drop/{drop}?name=a.txt", content=b"x").status_code == 404
    session = guarded.station.sessions.find(second.cookies)
    assert session is not None
    gone = second.get(session.served.put(lambda: Path("/secret/a.png").read_bytes()))
    assert (gone.status_code, "/secret" in gone.text) == (410, False)
    address = session.served.put(lambda: b"secret", "text/plain")
    answers = {client.get(address).status_code for client in (first, httpx.Client(base_url=guarded.url))}
    assert 200 not in answers


def test_signing_out_ends_the_session(guarded: Running) -> None:
    client = guarded.client("viewer")
    cookies = dict(client.cookies)
    assert client.get("/config").status_code == 200
    client.post("/sign-out")
    assert httpx.get(f"{guarded.url}/config", cookies=cookies).status_code == 401


def test_the_cookie_is_out_of_reach(guarded: Running) -> None:
    entered = httpx.post(f"{guarded.url}/sign-in", data={"name": "viewer", "password": PASSWORD})
    assert "HttpOnly" in entered.headers["set-cookie"]
    assert "SameSite=Strict" in entered.headers["set-cookie"]


def test_guessing_passwords_is_slowed_down(guarded: Running) -> None:
    guarded.station.store.users.add("guessed", Role.VIEWER, PASSWORD, by="test")
    with httpx.Client(base_url=guarded.url) as client:
        answers = [client.post("/sign-in", data={"name": "guessed", "password": f"wrong {n}"}) for n in range(5)]
        assert {answer.status_code for answer in answers} == {401}
        right = client.post("/sign-in", data={"name": "guessed", "password": PASSWORD})
        assert right.status_code == 401
        assert "wait" in right.text
    elsewhere = httpx.HTTPTransport(local_address="127.0.0.2")
    with httpx.Client(base_url=guarded.url, transport=elsewhere) as client:
        entered = client.post("/sign-in", data={"name": "guessed", "password": PASSWORD})
        assert entered.status_code == 303, "wrong passwords at one address lock nobody out at another"


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        ("10.0.0.7", "10.0.0.7"),
        ("::ffff:10.0.0.7", "10.0.0.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::1", "2001:db8:1:2::/64"),
        ("", ""),
    ],
)
def test_a_network_of_one_connection_is_one_address(address: str, counted: str) -> None:
    assert sign_in.network(address) == counted


def test_a_store_that_cannot_be_written_is_said_without_its_place(
    guarded: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, address: str) -> None:
        raise StoreError("/secret/inspections.db: database or disk is full")

    monkeypatch.setattr(guarded.station.store.users, "authenticate", full)
    answer = httpx.post(f"{guarded.url}/sign-in", data={"name": "viewer", "password": PASSWORD})
    assert answer.status_code == 503
    assert "secret" not in answer.text
    assert "cannot be written" in answer.text


def test_an_address_may_not_try_names_without_end() -> None:
    now = [0.0]
    attempts = sign_in.Attempts(lambda: now[0])
    assert [attempts.begin("10.0.0.1") for _ in range(sign_in.MOST_ATTEMPTS)] == [0.0] * sign_in.MOST_ATTEMPTS
    assert attempts.begin("10.0.0.1") == pytest.approx(sign_in.WINDOW_S)
    assert attempts.begin("10.0.0.2") == 0.0
    attempts.succeeded("10.0.0.1")
    assert attempts.begin("10.0.0.1") == 0.0, "a right password takes back its own attempt"
    assert attempts.begin("10.0.0.1") > 0, "and no other"
    now[0] = sign_in.WINDOW_S + 1
    assert attempts.begin("10.0.0.1") == 0.0


def test_addresses_without_end_fill_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sign_in, "MOST_ADDRESSES", 3)
    attempts = sign_in.Attempts(lambda: 0.0)
    for number in range(20):
        attempts.begin(f"10.0.0.{number}")
    assert list(attempts._failed) == ["10.0.0.17", "10.0.0.18", "10.0.0.19"]


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/file=/etc/passwd",
        "/gradio_api/file/etc/passwd",
        "/file=/etc/passwd",
        "/gradio_api/proxy=https://example.com/",
        "/gradio_api/upload_progress?upload_id=1",
        "/gradio_api/runs",
        "/monitoring",
        "/station/../settings.py",
        "/assets/../../../../../../etc/passwd",
        "/static/%2e%2e/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
    ],
)
def test_no_route_opens_a_path_or_an_address(local: Running, path: str) -> None:
    answer = local.client().get(path)
    assert answer.status_code in (403, 404)
    assert "root:" not in answer.text


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/upload",
        "/gradio_api/run/predict",
        "/gradio_api/call/predict",
        "/gradio_api/component_server",
        "/login",
    ],
)
def test_gradios_other_ways_in_are_closed(local: Running, path: str) -> None:
    assert local.client().post(path, files={"files": b"x"}).status_code == 403


def test_a_forged_file_is_refused(local: Running) -> None:
    forged = {"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}}
    body = {"data": [forged], "fn_index": 0, "session_hash": "x"}
    assert local.client().post("/gradio_api/queue/join", json=body).status_code == 403
    escaped = json.dumps(body).replace("gradio.FileData", "gradio\\u002eFileData")
    answer = local.client().post(
        "/gradio_api/queue/join", content=escaped, headers={"Content-Type": "application/json"}
    )
    assert answer.status_code == 403


def test_large_requests_are_not_read(local: Running) -> None:
    body = b'{"data": ["' + b"x" * 5_000_000 + b'"], "fn_index": 0, "session_hash": "x"}'
    assert local.client().post("/gradio_api/queue/join", content=body).status_code == 413


def test_the_path_that_is_routed_is_the_one_that_is_checked(local: Running) -> None:
    """Whatever a Host header would make of it: it must not turn one address into another that is allowed."""
    client = local.client()
    host = local.url.removeprefix("http://")
    for forged in (f"{host}/config?", f"{host}/sign-in#", "localhost/sign-in?", f"x@{host}", f"{host}\\", ""):
        for path in ("/gradio_api/file=/etc/passwd", "/config"):
            assert client.get(path, headers={"Host": forged}).status_code == 400, forged
    assert client.get("/config", headers={"Host": host.upper()}).status_code == 200


def test_nonsense_is_refused_before_it_reaches_a_handler(local: Running) -> None:
    client = local.client()
    half = client.post("/gradio_api/queue/join", content=b'{"data": ["\\ud800"], "fn_index": 0, "session_hash": "x"}')
    assert half.status_code == 400
    for number in ("9" * 30, "9" * 5000, "-1", "x", []):
        answer = call(client, "history-list", "inspection", [], {"inspection": number})
        assert "Nothing" in answer["output"]["error"], number


def test_other_hosts_and_other_sites_are_refused(local: Running) -> None:
    client = local.client()
    assert client.get("/", headers={"Host": "evil.example"}).status_code == 403
    assert client.post("/drop", headers={"Origin": "https://evil.example"}).status_code == 403
    assert client.post("/drop", headers={"Origin": local.url}).status_code == 200
    embedded = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"}
    followed = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    before = len(list(local.station.sessions))
    assert httpx.get(local.url, headers=embedded).status_code == 403
    assert httpx.get(f"{local.url}/config").status_code == 401
    assert len(list(local.station.sessions)) == before, "no session begins for what is not a page"
    linked = httpx.get(local.url, headers=followed)
    assert linked.status_code == 200
    assert "set-cookie" not in linked.headers, "or an open tab would lose its session"
    assert 'content="0; url=/"' in linked.text


def test_the_browser_is_told_to_stay_here(local: Running) -> None:
    policy = local.client().get("/").headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "http:" not in policy.replace("'self'", "")
    assert "https:" not in policy


def test_a_bundle_is_chosen_among_those_found(local: Running) -> None:
    client = local.client()
    call(client, "bundles", "bundle", [""], {"bundle": "../../../etc"})
    assert not call(client, "activate", "click", [""])["success"]


def test_a_damaged_bundle_is_not_loaded(local: Running) -> None:
    model = local.station.settings.bundles / "swatch" / "model.onnx"
    model.write_bytes(model.read_bytes()[:-1] + b"x")
    found = {one.name: one for one in local.station.bundles.all()}
    assert found["ring"].bundle is not None
    assert found["swatch"].bundle is None
    assert "altered" in str(found["swatch"].error)


def test_other_machines_need_users(tmp_path: Path) -> None:
    refused = run(DEFECTFLOW, "ui", tmp_path, "--host", "0.0.0.0")
    assert refused.returncode == 2
    assert "defectflow users add" in refused.stderr
    with pytest.raises(DataError, match="there is no such folder, and it cannot be made"):
        open_station(Settings(tmp_path / "nowhere" / "models"))
    with Store.open(str(tmp_path / "inspections.db")) as store:
        store.users.add("anna", Role.ENGINEER, PASSWORD, by="test")
    station = open_station(Settings(tmp_path, host="0.0.0.0"))
    assert not station.settings.local
    station.close()


def test_a_handler_without_a_role_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    station = open_station(Settings(tmp_path))

    def careless(_: object) -> gr.Blocks:
        with gr.Blocks() as blocks:
            button = gr.Button("go")
            button.click(lambda: None)
        return blocks

    def path_taker(_: object) -> gr.Blocks:
        with gr.Blocks() as blocks:
            gr.File()
        return blocks

    class Covering:
        station = None

        @handler(Role.VIEWER)
        def look(self, visitor: object) -> str:
            return ""

    def coverer(_: object) -> gr.Blocks:
        with gr.Blocks() as blocks:
            gr.Button("go").click(Covering().look, outputs=gr.HTML())
        return blocks

    refused = ((careless, "say who may call it"), (path_taker, "sends paths"), (coverer, "would cover"))
    for frame, said in refused:
        monkeypatch.setattr(server, "build_frame", frame)
        with pytest.raises(TypeError, match=said):
            server.build(station)
    assert block(elem_id="x")
    station.close()
