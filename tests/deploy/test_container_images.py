"""The container images, without Docker: their steps run in a fresh environment, their commands under their limits.

What only Docker can show, that the base image is there and how large it is, is not shown here.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import stat
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from support import DEPLOY, REPOSITORY, build_stage, digests, read_stages, run

MIB = 2**20
LIMIT_MIB = 500
BASE_MIB = 150
"""python:3.12-slim-bookworm unpacked, rounded up; not measured here."""
BASE_LIBRARIES = {"ld-linux-x86-64", "libc", "libdl", "libgcc_s", "libm", "libpthread", "librt", "libstdc++", "libz"}
"""System libraries that Python's slim image has: apt itself needs the C++ ones, Python's own zlib module libz."""
EDGE, SERVER = DEPLOY / "Dockerfile.edge", DEPLOY / "Dockerfile.server"

# The container's limits by the kernel's own means: a root that cannot be written, no network, no capabilities; only
# the first argument can be written. It is run in its own namespaces.
CONFINED = """
set -e
results=$1
shift
mount --rbind /tmp /tmp
mount -o remount,ro,bind /tmp
mount -o remount,ro,bind /
mount --bind "$results" "$results"
mount -o remount,rw,bind "$results"
cd "$results"
exec setpriv --bounding-set=-all --inh-caps=-all --no-new-privs "$@"
"""


def instruction(dockerfile: Path, word: str) -> str:
    """The last stage's instruction of that kind."""
    (found,) = (rest for name, rest in read_stages(dockerfile)[-1] if name == word)
    return found


def health_check(dockerfile: Path) -> list[str]:
    words: list[str] = json.loads(instruction(dockerfile, "HEALTHCHECK").partition("CMD ")[2])
    return words


UNIT = DEPLOY / "defectflow.service"


def compose() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((DEPLOY / "docker-compose.yml").read_text(encoding="utf-8"))
    return content


def size_mib(folder: Path) -> float:
    """As `du` counts."""
    return sum(path.lstat().st_blocks * 512 for path in folder.rglob("*")) / MIB


def test_the_edge_image_is_small(line: Path) -> None:
    installed = size_mib(line.parent)
    print(f"the edge image's environment: {installed:.0f} MiB")
    assert installed + BASE_MIB < LIMIT_MIB


def test_the_base_image_has_what_libraries_need(line: Path) -> None:
    """Every compiled file finds its libraries in the environment itself or among those that the base image has."""
    needed = set[str]()
    for file in line.parent.rglob("*.so*"):
        for found in run("ldd", file).stdout.splitlines():
            name, arrow, where = found.partition(" => ")
            assert "not found" not in where, f"{file}: {found}"
            if arrow and not where.startswith(str(line.parent)):
                needed.add(name.strip().partition(".so")[0])
    assert needed <= BASE_LIBRARIES


def test_byte_code_is_there(line: Path) -> None:
    compiled = list(line.parent.rglob("defectflow/line/__pycache__/inspector.*.pyc"))
    assert compiled, "a read-only root could not keep it"


def confined(results: Path, *command: str | Path) -> subprocess.CompletedProcess[str]:
    namespaces = ("unshare", "--user", "--map-root-user", "--mount", "--net")
    if not shutil.which("unshare") or run(*namespaces, "mount", "--rbind", "/tmp", "/tmp").returncode != 0:
        pytest.skip("this machine lets nobody make namespaces")
    return run(*namespaces, "sh", "-c", CONFINED, "sh", results, "env", "HOME=/tmp", *command)


def test_health_check_and_scoring_under_the_containers_limits(
    line: Path, bundle_path: Path, sample: Path, tmp_path: Path
) -> None:
    results = tmp_path / "results"
    results.mkdir()
    before, installed = digests(bundle_path), digests(line.parent)
    assert "Read-only" in confined(results, "touch", bundle_path / "new").stderr, "or the limits are none"
    command, *words = [bundle_path if word == "/bundle" else word for word in health_check(EDGE)]
    healthy = confined(results, line / str(command), *words)
    assert healthy.returncode == 0, healthy.stderr
    assert "Passed" in healthy.stdout
    pictures = sample / "test" / "good"
    scored = confined(results, line / "defectflow", "score", bundle_path, pictures, "--out", results / "monday")
    assert scored.returncode == 0, scored.stderr
    assert len((results / "monday" / "results.csv").read_text().splitlines()) == 1 + 24
    assert digests(bundle_path) == before
    assert digests(line.parent) == installed


def test_the_health_check_notices_damage(line: Path, bundle_copy: Path) -> None:
    with (bundle_copy / "model.onnx").open("r+b") as model:
        model.truncate(100_000)
    sick = run(line / "defectflow", "verify", bundle_copy)
    assert sick.returncode != 0
    assert "damaged" in sick.stderr


def test_another_user_can_read_a_bundle(bundle_path: Path) -> None:
    usual = stat.S_IMODE((bundle_path / "card.json").stat().st_mode)
    for file in bundle_path.rglob("*"):
        if file.is_file():
            assert stat.S_IMODE(file.stat().st_mode) == usual, file


@pytest.mark.parametrize("dockerfile", [EDGE, SERVER])
def test_images_run_as_nobody_in_particular(dockerfile: Path) -> None:
    assert instruction(dockerfile, "USER") == "10001:10001"
    assert json.loads(instruction(dockerfile, "ENTRYPOINT")) == ["defectflow"]
    environment = dict(word.split("=", 1) for word in shlex.split(instruction(dockerfile, "ENV")))
    assert environment["HOME"] == "/tmp", "the only folder of its own that can be written"
    assert environment["USER"], "there is no entry for 10001 in /etc/passwd, so Python could not say who it is"


def test_compose_fits_the_images() -> None:
    services = compose()["services"]
    assert set(services) == {"edge", "server", "serve", "database", "broker"}
    for name in ("edge", "server"):
        service = services[name]
        context = (DEPLOY / service["build"]["context"]).resolve()
        assert context == REPOSITORY
        dockerfile = context / service["build"]["dockerfile"]
        assert dockerfile == DEPLOY / f"Dockerfile.{name}"
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert [mount.partition(":")[0] for mount in service["tmpfs"]] == ["/tmp"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        mounted = {volume.split("}:")[1].removesuffix(":ro") for volume in service["volumes"]}
        asked = [*json.loads(instruction(dockerfile, "CMD")), *health_check(dockerfile)]
        for word in asked:
            if word.startswith("/"):
                assert any(word == folder or word.startswith(f"{folder}/") for folder in mounted), word
    assert services["edge"]["network_mode"] == "none"
    (port,) = services["server"]["ports"]
    assert port.startswith("127.0.0.1:"), "nobody else until somebody decides so"
    assert port.endswith(f":{instruction(SERVER, 'EXPOSE')}")
    assert f"127.0.0.1:{instruction(SERVER, 'EXPOSE')}/" in health_check(SERVER)[-1]


def test_compose_has_the_service_with_what_it_needs() -> None:
    services = compose()["services"]
    serve = services["serve"]
    assert serve["image"] == services["server"]["image"] and serve["read_only"] is True
    for port in serve["ports"]:
        assert port.startswith("127.0.0.1:")
    assert not any("ports" in services[name] for name in ("database", "broker")), "nobody from outside"
    assert (DEPLOY / "mosquitto.conf").is_file()


def test_the_units_words_are_those_of_the_command() -> None:
    """What systemd and compose start is taken apart by the real command line."""
    from typer.main import get_command

    from defectflow.cli.main import app

    lines = [line.partition("=")[2].split() for line in UNIT.read_text().splitlines() if line.startswith("ExecStart")]
    assert len(lines) == 1
    command = get_command(app)
    for words in [*(line[1:] for line in lines), compose()["services"]["serve"]["command"]]:
        context = command.make_context("defectflow", list(words))
        name, inner, rest = command.resolve_command(context, [*context._protected_args, *context.args])
        assert name == "serve" and inner is not None
        inner.make_context(name, rest, parent=context)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_the_unit_is_one_and_confines_the_service(tmp_path: Path) -> None:
    """By systemd itself: it knows each of the words, and rates what is left to the service (0 is nothing, 10 all)."""
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace("/opt/defectflow/bin/defectflow", shutil.which("true") or ""))
    verified = run("systemd-analyze", "verify", unit)
    assert (verified.returncode, verified.stderr) == (0, "")
    rated = run("systemd-analyze", "security", "--offline=true", "--threshold=20", unit)
    assert rated.returncode == 0, rated.stdout


def test_the_context_holds_what_is_copied() -> None:
    allowed = {line[1:] for line in (REPOSITORY / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = set[str]()
    for dockerfile in (EDGE, SERVER):
        for word, rest in read_stages(dockerfile)[0]:
            copied |= set(rest.split()[:-1]) if word == "COPY" else set()
    assert copied == allowed
    missing = {name for name in copied if not (REPOSITORY / name).exists()}
    assert missing <= {"ui"}, "the station may be left out of a tree, nothing else"


@pytest.mark.slow
def test_the_servers_image_answers(bundle_path: Path, tmp_path: Path) -> None:
    """The station, by the image's own steps, command and health check."""
    if not (REPOSITORY / "ui").is_dir():
        pytest.skip("the station is not part of this tree")
    build_stage(SERVER, tmp_path)
    commands, store = tmp_path / "opt" / "defectflow" / "bin", tmp_path / "store.db"
    (tmp_path / "bundles").mkdir()
    (tmp_path / "bundles" / "ring").symlink_to(bundle_path)
    password = "DEFECTFLOW_PASSWORD=correct horse battery"
    words = ("users", "add", "anna", "--role", "engineer", "--store", store)
    added = run("env", password, commands / "defectflow", *words)
    assert added.returncode == 0, added.stderr
    command = [word.replace("/bundles", str(tmp_path / "bundles")) for word in json.loads(instruction(SERVER, "CMD"))]
    command = [word.replace("/store/inspections.db", str(store)) for word in command]
    check = ("env", f"PATH={commands}:{os.environ['PATH']}", *health_check(SERVER))
    with subprocess.Popen([commands / "defectflow", *command]) as server:
        try:
            deadline = time.monotonic() + 60
            while run(*check).returncode != 0:
                assert time.monotonic() < deadline, "it does not answer"
                assert server.poll() is None, "it has ended"
                time.sleep(0.5)
        finally:
            server.terminate()
