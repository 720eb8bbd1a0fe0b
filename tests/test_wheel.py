"""The wheel, built and installed without torch: nothing is missing, and recipes are found by name."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

import pytest
from support import REPOSITORY, once, run

from defectflow.recipe import CONFIGS, builtin_recipes


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    def build(folder: Path) -> None:
        built = run(sys.executable, "-m", "pip", "wheel", "--no-deps", "-w", folder, REPOSITORY, timeout_s=600)
        assert built.returncode == 0, built.stderr[-3000:]

    (file,) = once(tmp_path_factory, "wheel", build).glob("*.whl")
    return file


@pytest.mark.parametrize(
    ("folder", "name"),
    [("defectflow", "defectflow"), ("ui/defectflow_ui", "defectflow_ui"), ("configs", "defectflow/configs")],
)
def test_it_holds_every_file_of_a_folder(wheel: Path, folder: str, name: str) -> None:
    files = [file.relative_to(REPOSITORY / folder) for file in (REPOSITORY / folder).rglob("*") if file.is_file()]
    wanted = {f"{name}/{file.as_posix()}" for file in files if "__pycache__" not in file.parts}
    assert wanted and wanted <= set(zipfile.ZipFile(wheel).namelist())


def test_installed_it_opens_the_door_and_finds_recipes_by_name(wheel: Path, line: Path, tmp_path: Path) -> None:
    """In an environment that has what the line needs, and no torch."""
    site = tmp_path / "site"
    installed = run(sys.executable, "-m", "pip", "install", "--no-deps", "--target", site, wheel)
    assert installed.returncode == 0, installed.stderr
    begin = f"import sys; sys.path.insert(0, {str(site)!r}); "
    door = begin + (
        "import defectflow; from defectflow import Inspector, Model, Verdict, load_recipe, open_bundle; "
        "print(defectflow.__file__, load_recipe('texture').image.size)"
    )
    opened = run(line / "python", "-c", door, cwd=tmp_path)
    assert opened.returncode == 0, opened.stderr
    assert opened.stdout.startswith(str(site)) and opened.stdout.split()[-1].isdigit()
    command = begin + "sys.argv = ['defectflow', 'recipes']; from defectflow.cli.main import main; main()"
    listed = run(line / "python", "-c", command, cwd=tmp_path)
    assert listed.returncode == 0, listed.stderr
    assert all(f"{name}.yaml" in listed.stdout for name in builtin_recipes())
    training = begin + "from defectflow import fit; fit('good')"
    assert "pip install 'defectflow[train]'" in run(line / "python", "-c", training, cwd=tmp_path).stderr


def test_a_checkout_finds_them_at_the_top() -> None:
    assert CONFIGS == REPOSITORY / "configs"
    assert set(builtin_recipes()) == {file.stem for file in CONFIGS.glob("*.yaml")} - {"pretrain"}
