"""Who is let in: keys, roles, and nothing without them but this machine's own programs."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from serving import Serve, Serving
from support import Cli

from defectflow.bundle import open_bundle
from defectflow.errors import SettingsError
from defectflow.serve import ClientKeys, ServeSettings, add_key, load_settings, read_keys, remove_key
from defectflow.store import Role

ROUTES = ("/v1/models", "/v1/inspections/1", "/v1/parts/1", "/metrics")


def test_no_key_and_a_wrong_key(shared: Serving, pictures: list[Path]) -> None:
    for key in (None, "df_wrong"):
        with shared.http(key) as http:
            for answered in (http.post("/v1/inspect", content=pictures[0].read_bytes()), *map(http.get, ROUTES)):
                assert answered.status_code == 401
                assert answered.headers["www-authenticate"] == "Bearer"
                assert answered.headers["content-type"] == "application/problem+json"
            assert http.get("/healthz").status_code == 200
            assert http.get("/readyz").status_code == 200


def test_roles(shared: Serving, pictures: list[Path]) -> None:
    with shared.http("viewer") as http:
        refused = http.post("/v1/inspect", content=pictures[0].read_bytes())
        assert refused.status_code == 403
        assert "operator" in refused.json()["detail"]
        assert http.get("/v1/models").status_code == 200
    with shared.http("engineer") as http:
        assert http.post("/v1/inspect", content=pictures[0].read_bytes()).status_code == 200


def test_a_removed_key_is_refused_at_once(serve: Serve) -> None:
    serving = serve()
    with serving.http("viewer") as viewer, serving.http("engineer") as engineer:
        assert viewer.get("/v1/models").status_code == 200
        remove_key(serving.folder / "keys.yaml", "viewer")
        assert viewer.get("/v1/models").status_code == 401
        assert engineer.get("/v1/models").status_code == 200


def test_a_service_without_keys_is_for_programs_of_this_machine(serve: Serve, pictures: list[Path]) -> None:
    serving = serve("--set", "keys=null", "--set", "without_keys=true")
    content = pictures[0].read_bytes()
    with serving.http(None) as http:
        answered = http.post("/v1/inspect", content=content)
        assert answered.json()["inspections"][0]["client"] == "local"
        for headers in ({"Origin": "https://evil.example"}, {"Host": "evil.example"}, {"Origin": serving.url}):
            assert http.post("/v1/inspect", content=content, headers=headers).status_code == 403


def test_the_file_holds_no_key_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    file = tmp_path / "keys.yaml"
    key = add_key(file, "line1", Role.OPERATOR)
    assert key not in file.read_text()
    assert file.stat().st_mode & 0o077 == 0
    keys = ClientKeys(file)
    found = keys.find(key)
    assert found is not None and (found.name, found.role) == ("line1", Role.OPERATOR)
    assert keys.find(key[:-1]) is None
    with pytest.raises(SettingsError, match="line1"):
        add_key(file, "line1", Role.VIEWER)
    with pytest.raises(SettingsError, match="line2"):
        remove_key(file, "line2")
    with pytest.raises(SettingsError):
        add_key(file, "a\nb", Role.VIEWER)
    assert list(read_keys(file).clients) == ["line1"]


def test_a_keys_file_that_breaks_lets_nobody_in(tmp_path: Path) -> None:
    file = tmp_path / "keys.yaml"
    key = add_key(file, "line1", Role.OPERATOR)
    keys = ClientKeys(file)
    file.write_text("clients: {line1: {role: emperor}}")
    assert keys.find(key) is None
    with pytest.raises(SettingsError, match="emperor"):
        ClientKeys(file)


def test_no_open_port_without_keys() -> None:
    for values in ({}, {"without_keys": True, "host": "0.0.0.0"}, {"without_keys": True, "host": "station"}):
        with pytest.raises(ValueError, match="keys"):
            ServeSettings(**values)
    for host in ("127.0.0.1", "localhost", "::1"):
        assert ServeSettings(without_keys=True, host=host).local
    with pytest.raises(ValueError, match="exclude"):
        ServeSettings(without_keys=True, keys=Path("keys.yaml"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("hots: 127.0.0.1", "did you mean 'host'"),
        ("limits: {waiting: 0}", "greater than or equal to 1"),
        ("tls: {certificate: a.pem}", "tls.key"),
        ("port: 99999", "65535"),
        ("- a", "service's settings file"),
        ("a: [", "not valid YAML"),
        ("without_keys: true\nhost: 10.0.0.7", "10.0.0.7 can be reached from other machines"),
    ],
)
def test_wrong_settings_say_what_is_right(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "serve.yaml"
    file.write_text(text)
    with pytest.raises(SettingsError) as refused:
        load_settings(file, [])
    assert str(file) in str(refused.value) and said in str(refused.value)


def test_the_commands(tmp_path: Path, cli: Cli, models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    added = cli("keys", "add", "line1", "--keys", "keys.yaml")
    assert added.code == 0 and ClientKeys(tmp_path / "keys.yaml").find(added.out) is not None
    assert "operator" in cli("keys", "list", "--keys", "keys.yaml").out
    (tmp_path / "serve.yaml").write_text(f"models: {models / 'bracket'}\nkeys: keys.yaml\n")
    checked = cli("serve", "serve.yaml", "--check")
    assert checked.code == 0 and "ready: swatch" in checked.out
    for change, said in (
        (f"models={models}", "none is active; activate one (defectflow versions activate BUNDLE"),
        ("models=nowhere", "nowhere: no such folder"),
        ("provider=abacus", "abacus"),
        ("keys=gone.yaml", "gone.yaml: no such file; a first key makes it: defectflow keys add"),
        ("store=gone/a.db", "gone does not exist"),
        ("tls={certificate: c.pem, key: k.pem}", "c.pem"),
    ):
        refused = cli("serve", "serve.yaml", "--check", "--set", change)
        assert refused.code == 2 and said in refused.err, (change, refused.err)
    chosen = cli("versions", "activate", models / "strict", "--store", "inspections.db", "--reason", "stricter")
    assert chosen.code == 0 and "judges from now on" in chosen.out
    checked = cli("serve", "serve.yaml", "--check", "--set", f"models={models}")
    strict = open_bundle(models / "strict").card
    assert checked.code == 0 and f"calibration {strict.calibration_id}) judges" in checked.out
    assert cli("keys", "remove", "line1", "--keys", "keys.yaml").code == 0
    assert "holds no keys" in cli("serve", "serve.yaml", "--check").err


def test_no_model_is_activated_that_cannot_judge(tmp_path: Path, cli: Cli, uncalibrated_path: Path) -> None:
    store = tmp_path / "inspections.db"
    refused = cli("versions", "activate", uncalibrated_path, "--store", store, "--reason", "a try")
    assert refused.code == 2 and "is uncalibrated" in refused.err
    assert not store.exists()


def test_the_port_is_taken(serve: Serve) -> None:
    first = serve()
    port = httpx.URL(first.url).port
    with pytest.raises(AssertionError, match=f"port {port}: cannot listen there"):
        serve("--set", f"port={port}")
