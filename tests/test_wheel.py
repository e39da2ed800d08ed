"""The wheel holds what attar needs and no more, and works from an empty folder in an environment of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from email import message_from_string
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

pytestmark = pytest.mark.skipif(
    find_spec("build") is None or find_spec("hatchling") is None, reason="needs build and hatchling (group dev)"
)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Built without isolation, because no network is needed then; nothing is written into the tree."""
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", out, ROOT]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (made,) = out.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def names(wheel) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


@pytest.fixture(scope="module")
def place(wheel, tmp_path_factory) -> Path:
    """An environment with the wheel, which finds what attar needs, and not attar, in the one that runs the tests."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin" / "python"
    target = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index", wheel]
    done = subprocess.run(pip, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    Path(target, "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder


def run(place: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`attar ARGUMENTS` of that environment, in `folder`."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "ATTAR_CACHE": str(folder / "cache")}
    environment.pop("PYTHONPATH", None)
    return subprocess.run(
        [place / "bin" / "attar", *arguments], capture_output=True, text=True, cwd=folder, env=environment, check=False
    )


def test_every_file_of_the_package_is_in_the_wheel_and_nothing_else(names):
    source = ROOT / "src"
    ours = {
        path.relative_to(source).as_posix()
        for path in (source / "attar").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert any(not name.endswith(".py") for name in ours)  # data: words, templates
    assert {name for name in names if ".dist-info/" not in name} == ours


def test_the_wheel_is_small(wheel):
    assert wheel.stat().st_size < 2 * 2**20


def test_the_record_tells_extras_licence_and_readme(wheel, names):
    information = next(name for name in names if name.endswith(".dist-info/METADATA"))
    with zipfile.ZipFile(wheel) as archive:
        record = message_from_string(archive.read(information).decode())
    assert (record["Name"], record["Version"]) == (PROJECT["name"], PROJECT["version"])
    assert set(record.get_all("Provides-Extra")) == PROJECT["optional-dependencies"].keys()
    assert record["License-Expression"] == PROJECT["license"]
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)
    assert record["Description-Content-Type"] == "text/markdown"
    assert record.get_payload().strip() == (ROOT / "README.md").read_text().strip()


def test_the_installed_wheel_is_what_is_imported(place, tmp_path):
    done = subprocess.run(
        [place / "bin" / "python", "-c", "import attar; print(attar.__file__)"],
        capture_output=True, text=True, cwd=tmp_path, check=True,
    )  # fmt: skip
    assert Path(done.stdout.strip()).is_relative_to(place)


def test_the_installed_commands_work_in_an_empty_folder(place, tmp_path):
    told = run(place, tmp_path, "--version")
    assert told.returncode == 0 and told.stdout.startswith(f"attar {PROJECT['version']}\n")
    helped = run(place, tmp_path, "--help")
    assert helped.returncode == 0 and "distill" in helped.stdout
    examined = run(place, tmp_path, "doctor", "--json")
    checks = {check["name"]: check for check in json.loads(examined.stdout)["checks"]}
    assert checks["attar"]["value"] == PROJECT["version"]
    assert checks["torch and torchvision"]["state"] == "ok"


def test_the_installed_attar_distills(place, tmp_path):
    done = run(
        place, tmp_path, "distill", "digits", "--method", "random", "--limit", "4", "--backbone", "cifar_resnet20",
        "--weights", "random", "--out", "digits.attar",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "digits.attar" / "images").rglob("*.png"))) == 10
    assert run(place, tmp_path, "verify", "digits.attar").returncode == 0
