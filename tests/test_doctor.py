"""The doctor finds what is missing, broken or slow, says what mends it, and comes out whatever is broken."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import PIL.features
import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from attar import doctor
from attar.cli import main
from attar.doctor import Check, Report, examine, fulfils

BROKEN = 'raise RuntimeError("operator torchvision::nms does not exist")'


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(doctor, "_TRIAL_BYTES", 2**20)
    monkeypatch.setattr(doctor, "_SLOW_DISK", 0)  # a small file tells little


def found(name: str) -> Check:
    return next(check for check in examine().checks if check.name == name)


def install(folder: Path, name: str, code: str = "", version: str = "0.29.2", needs: str = "torch") -> Path:
    """A package with this code and these requirements, importable from `folder`."""
    (folder / name).mkdir(parents=True)
    (folder / name / "__init__.py").write_text(code)
    record = folder / f"{name}-{version}.dist-info"
    record.mkdir()
    (record / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\nRequires-Dist: {needs}\n"
    )
    return folder


def test_here_nothing_is_broken_and_all_is_measured():
    report = examine()
    assert report.broken == ()
    names = [check.name for check in report.checks]
    assert len(set(names)) == len(names)
    values = {check.name: check.value for check in report.checks}
    assert values["torch and torchvision"] == "fit together" and values["image formats"] == "JPEG, PNG, WebP"
    assert "ViT-B/16" in values["memory"] and os.environ["ATTAR_CACHE"] in values["cache"]
    for name in ("arithmetic", "decoding", "disk"):
        assert float(re.match(r"[\d,]+", values[name])[0].replace(",", "")) > 0


def test_no_trial_file_stays_in_the_cache():
    examine()
    assert list(Path(os.environ["ATTAR_CACHE"]).iterdir()) == []


def test_a_torchvision_for_another_torch_is_told_with_the_command_that_mends_it(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(install(tmp_path, "torchvision", BROKEN, needs="torch==2.9.0"))
    check = found("torch and torchvision")
    assert check.state == "broken" and re.match(r"torchvision 0.29.2 needs torch==2.9.0, and torch is 2\.", check.value)
    assert check.advice == "pip install -U torch torchvision"


def test_a_torchvision_that_fits_by_its_version_and_not_in_truth_is_broken(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(install(tmp_path, "torchvision", BROKEN))
    monkeypatch.delitem(sys.modules, "torchvision", raising=False)
    check = found("torch and torchvision")
    assert check.state == "broken" and "operator torchvision::nms does not exist" in check.value
    assert check.advice == "pip install --force-reinstall --no-deps torch torchvision"


def test_what_is_optional_is_imported_somewhere():
    code = "".join(file.read_text() for file in Path(doctor.__file__).parent.rglob("*.py"))
    modules = {name.removesuffix("_torch").replace("-", "_") for name in doctor._EXTRAS}
    assert {name for name in modules if not re.search(rf"(import|from) {name}\b", code)} == set()


def test_what_is_optional_may_be_missing(monkeypatch):
    monkeypatch.setattr(doctor, "_EXTRAS", {"no-package-of-this-name": "sing"})
    report = examine()
    check = next(check for check in report.checks if check.name == "no-package-of-this-name")
    assert check == Check(check.name, "missing", "optional: sing", "pip install no-package-of-this-name")
    assert report.broken == ()


@pytest.mark.parametrize(
    ("version", "value", "advice"),
    [("1.0", "1.0; attar needs timm>=1.0.11", "pip install -U timm"), (None, "isn't installed", "pip install timm")],
)
def test_what_is_required_and_too_old_or_missing_is_broken(monkeypatch, version, value, advice):
    known = doctor._version
    monkeypatch.setattr(doctor, "_version", lambda name: version if name == "timm" else known(name))
    assert found("timm") == Check("timm", "broken", value, advice)


def test_a_pillow_without_webp_is_broken(monkeypatch):
    monkeypatch.setattr(PIL.features, "check", lambda codec: codec != "webp")
    check = found("image formats")
    assert check.state == "broken" and check.value == "Pillow was built without WebP" and "pip install" in check.advice


def test_a_cache_that_can_not_be_written_is_broken(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ATTAR_CACHE", str(tmp_path / "file" / "cache"))
    check = found("disk")
    assert check.state == "broken" and str(tmp_path / "file" / "cache") in check.value
    assert check.advice == "set ATTAR_CACHE to another folder"


def test_assets_that_are_not_there_are_missing(tmp_path, monkeypatch):
    monkeypatch.setenv("ATTAR_ASSETS", str(tmp_path / "none"))
    assert found("ATTAR_ASSETS").state == "missing"


def test_what_is_slow_is_said_and_not_broken(monkeypatch):
    monkeypatch.setattr(doctor, "_rate", lambda work, seconds: 1.0)
    report = examine()
    slow = {check.name for check in report.checks if check.state == "slow"}
    assert {"arithmetic", "decoding"} <= slow and report.broken == ()


def test_a_check_that_fails_is_a_finding(monkeypatch):
    def explode():
        raise OSError("no such library\nat all")

    monkeypatch.setattr(doctor, "_decoding", explode)
    check = found("decoding")
    assert check.state == "broken" and check.value == "OSError: no such library"


def test_the_table_comes_out_where_torch_can_not_be_imported(tmp_path):
    install(tmp_path, "torch", "raise OSError('libcudart.so.13: cannot open shared object file')", version="2.15.0")
    install(tmp_path, "torchvision", BROKEN)
    done = subprocess.run(
        [sys.executable, "-c", "from attar.cli.main import run; run()", "doctor"],
        capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(tmp_path), "COLUMNS": "200"}, check=False,
    )  # fmt: skip
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert re.search(r"import torch +broken +OSError: libcudart", done.stdout) and re.search(r"disk +ok", done.stdout)
    assert "import torch: pip install --force-reinstall --no-deps torch\n" in done.stdout
    assert done.stderr == "attar: Broken here: import torch.\n"


def test_json_is_one_document(monkeypatch, capsys):
    report = Report((Check("torch", "ok", "2.15"), Check("disk", "broken", "full", "make room")))
    monkeypatch.setattr(doctor, "examine", lambda: report)
    monkeypatch.setattr(sys, "argv", ["attar", "doctor", "--json"])
    with pytest.raises(SystemExit) as left:
        main.run()
    shown = capsys.readouterr()
    document = json.loads(shown.out)
    assert left.value.code == 2 and document["ok"] is False
    assert document["checks"][1] == {"name": "disk", "state": "broken", "value": "full", "advice": "make room"}
    assert "Broken here: disk" in shown.err


numbers = st.lists(st.integers(0, 3), min_size=1, max_size=3).map(lambda parts: ".".join(map(str, parts)))
bounds = st.builds(str.__add__, st.sampled_from(["==", "!=", ">=", "<="]), numbers)
prefixes = st.builds("{}{}.*".format, st.sampled_from(["==", "!="]), numbers)


@given(numbers, st.lists(bounds | prefixes, max_size=3))
def test_bounds_mean_what_they_mean_to_pip(version: str, limits: list[str]):
    expected = SpecifierSet(",".join(limits)).contains(Version(version))
    assert fulfils(version, f"torch ({','.join(limits)})") == expected
    assert fulfils(f"{version}+cpu", f"torch{','.join(limits)}") == expected
