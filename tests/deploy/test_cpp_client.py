"""The C++ client, compiled and run against the ONNX Runtime that the Python wheel carries: the same verdicts?

Its headers are not in the wheel: they are taken from the system, or read from Debian's package. Without them, or
without a compiler, nothing is built here, and the tests are skipped and say so.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import onnxruntime
import pytest
from PIL import Image
from support import Pixels, join_products, marked, run

from defectflow.bundle.bundle import open_bundle
from defectflow.image.decode import read_image
from defectflow.line import Inspector
from defectflow.line.golden import read_golden
from defectflow.verdict import Verdict

CLIENT = Path(__file__).parents[2] / "deploy" / "cpp"
PRINTED = 2e-5
"""Relative: six digits are printed."""

if os.name == "nt" or not shutil.which("cmake") or not shutil.which("c++"):
    pytest.skip("no cmake or no C++ compiler here", allow_module_level=True)


def find_headers(folder: Path) -> Path:
    for known in (os.environ.get("ONNXRUNTIME_INCLUDE"), "/usr/include/onnxruntime", "/usr/local/include/onnxruntime"):
        if known and (Path(known) / "onnxruntime_cxx_api.h").is_file():
            return Path(known)
    fetched = run(CLIENT / "headers.sh", folder)
    if fetched.returncode != 0:
        pytest.skip(f"ONNX Runtime's headers are not to be had here: {fetched.stderr.strip()[-300:]}")
    return Path(fetched.stdout.strip())


@pytest.fixture(scope="module")
def inspect(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiled client."""
    base = tmp_path_factory.mktemp("cpp")
    headers = find_headers(base / "headers")
    (shipped,) = (Path(onnxruntime.__file__).parent / "capi").glob("libonnxruntime.so.*")
    library = base / "libonnxruntime.so.1"  # the name under which the loader looks for it
    library.symlink_to(shipped)
    settings = (f"-DONNXRUNTIME_INCLUDE={headers}", f"-DONNXRUNTIME_LIBRARY={library}", "-DCMAKE_CXX_FLAGS=-Werror")
    configured = run("cmake", "-S", CLIENT, "-B", base / "build", *settings)
    assert configured.returncode == 0, configured.stderr
    built = run("cmake", "--build", base / "build")
    assert built.returncode == 0, built.stdout + built.stderr
    return base / "build" / "inspect"


@pytest.fixture(scope="module")
def pictures(bundle_path: Path, sample: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[Path, Pixels]:
    """Golden pictures, a marked ring and sizes with odd sides, as PPM files."""
    ring = read_image(min((sample / "test" / "good").glob("*.png")))
    golden = [read_image(item.file) for item in read_golden(open_bundle(bundle_path)) if item.record is not None]
    small = ring[:99, 3:204]
    folder = tmp_path_factory.mktemp("ppm")
    written = {folder / f"{number}.ppm": pixels for number, pixels in enumerate([*golden, marked(ring), small])}
    for file, pixels in written.items():
        Image.fromarray(pixels).save(file)
    return written


def test_verdicts_are_those_of_python(
    inspect: Path, inspector: Inspector, pictures: dict[Path, Pixels], bundle_path: Path
) -> None:
    done = run(inspect, bundle_path / "model.onnx", *pictures)
    assert done.returncode == 1, "a defective one is among them"
    lines = [line.split() for line in done.stdout.splitlines()]
    assert [line[0] for line in lines] == [str(file) for file in pictures]
    words = set()
    for (_, word, score, p_value), verdict in zip(lines, inspector.inspect(pictures.values()), strict=True):
        assert isinstance(verdict, Verdict)
        assert word == verdict.decision.word
        assert float(score) == pytest.approx(verdict.score, rel=PRINTED)
        assert float(p_value) == pytest.approx(verdict.p_value, rel=PRINTED)
        words.add(word)
    assert {"ok", "invalid"} <= words, "or the test shows little"


def test_exit_codes(inspect: Path, pictures: dict[Path, Pixels], bundle_path: Path) -> None:
    model, good = bundle_path / "model.onnx", next(iter(pictures))
    assert run(inspect, model, good).returncode == 0
    assert run(inspect, model).returncode == 2
    refused = run(inspect, bundle_path / "card.json", good)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "card.json" in refused.stderr


def test_an_unusable_picture_stops_nothing(
    inspect: Path, pictures: dict[Path, Pixels], bundle_path: Path, tmp_path: Path
) -> None:
    good = next(iter(pictures))
    cut = tmp_path / "cut.ppm"
    cut.write_bytes(good.read_bytes()[:1000])
    done = run(inspect, bundle_path / "model.onnx", cut, tmp_path / "none.ppm", bundle_path / "card.json", good)
    assert done.returncode == 2
    assert done.stdout.startswith(f"{good} ok ")
    assert f"{cut}: is cut short" in done.stderr
    assert f"{tmp_path / 'none.ppm'}: cannot be opened" in done.stderr
    assert "card.json: is not a binary PPM picture" in done.stderr


def test_it_reports_to_nobody(inspect: Path, pictures: dict[Path, Pixels], bundle_path: Path, tmp_path: Path) -> None:
    """ONNX Runtime would keep an identifier of the machine in the user's folder."""
    model, good = bundle_path / "model.onnx", next(iter(pictures))
    assert run("env", "-u", "ORT_DISABLE_TELEMETRY", f"HOME={tmp_path}", inspect, model, good).returncode == 0
    assert not list(tmp_path.iterdir())


def test_products(inspect: Path, pictures: dict[Path, Pixels], bundle_path: Path, tmp_path: Path) -> None:
    """By name, by what the picture resembles, and by a name that the model lacks."""
    line = join_products(tmp_path / "line", {"left": bundle_path, "right": bundle_path})
    alone = run(inspect, bundle_path / "model.onnx", *pictures)
    for asked, judged_as in ((("--product", "right"), "right"), ((), "left")):
        done = run(inspect, line / "model.onnx", *asked, *pictures)
        expected = [f"{line} {judged_as}" for line in alone.stdout.splitlines()]
        assert (done.returncode, done.stdout.splitlines()) == (alone.returncode, expected), done.stderr
    refused = run(inspect, line / "model.onnx", "--product", "middle", next(iter(pictures)))
    assert refused.returncode == 2 and "product middle: the model has left, right" in refused.stderr
