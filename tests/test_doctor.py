"""The doctor finds what is missing, broken or slow, says what mends it, and comes out whatever is broken."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import PIL.features
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from packaging.specifiers import SpecifierSet
from packaging.version import Version
from torch.utils.flop_counter import FlopCounterMode

import attar
from attar import doctor
from attar.cli import main
from attar.doctor import Check, Report, examine, machine, packages
from attar.doctor.proposal import NETWORKS, Machine, estimate, propose
from attar.doctor.versions import fulfils, installed
from attar.synthesis import choose_settings

BROKEN = 'raise RuntimeError("operator torchvision::nms does not exist")'


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(machine, "_TRIAL_BYTES", 2**20)
    monkeypatch.setattr(machine, "_SLOW_DISK", 0)  # a small file tells little


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


def requires(monkeypatch, *requirements: str) -> None:
    """Let attar's own record name these."""
    known = packages.metadata.requires
    monkeypatch.setattr(
        packages.metadata, "requires", lambda name: list(requirements) if name == "attar" else known(name)
    )


def test_an_extra_is_there_where_all_its_packages_are_and_none_is_too_old(monkeypatch):
    requires(monkeypatch, "numpy>=1; extra == 'clip'", "no-such-package; extra == 'onnx'", "numpy; extra == 'onnx'",
             "numpy>=99; extra == 'ssl'")  # fmt: skip
    here, lacking, old = packages.extras()
    assert here == Check("attar[clip]", "ok", f"CLIP backbones: numpy {installed('numpy')}")
    assert (lacking.name, lacking.state, lacking.advice) == ("attar[onnx]", "missing", "pip install 'attar[onnx]'")
    assert lacking.value == "attar export to ONNX; it needs no-such-package"
    assert (old.state, old.value) == ("missing", "attar squeeze --ssl; it needs numpy>=99")
    assert Report((here, lacking, old)).broken == ()


def test_every_extra_of_the_project_has_a_purpose():
    table = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())
    assert packages._PURPOSES.keys() == table["project"]["optional-dependencies"].keys()


def register(folder: Path, code: str) -> Path:
    """A package whose entry point `dotted` is its `Dotted`."""
    install(folder, "dotted_objective", code)
    (folder / "dotted_objective-0.29.2.dist-info" / "entry_points.txt").write_text(
        "[attar.objectives]\ndotted = dotted_objective:Dotted\n"
    )
    return folder


def test_plug_ins_are_loaded_and_told(tmp_path, monkeypatch):
    code = "from attar.synthesis.objectives import MeanMatching\n\n\nclass Dotted(MeanMatching):\n    build = None\n"
    monkeypatch.syspath_prepend(register(tmp_path, code))
    monkeypatch.delitem(sys.modules, "dotted_objective", raising=False)
    assert found("objective dotted") == Check("objective dotted", "ok", "dotted_objective.Dotted")


def test_a_plug_in_that_can_not_be_loaded_is_broken(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(register(tmp_path, "import no_such_module"))
    monkeypatch.delitem(sys.modules, "dotted_objective", raising=False)
    check = found("objective dotted")
    assert check.state == "broken" and "No module named 'no_such_module'" in check.value
    assert check.advice == "mend or uninstall that package"


@pytest.mark.parametrize(
    ("version", "value", "advice"),
    [("1.0", "1.0; attar needs timm>=1.0.11", "pip install -U timm"), (None, "isn't installed", "pip install timm")],
)
def test_what_is_required_and_too_old_or_missing_is_broken(monkeypatch, version, value, advice):
    monkeypatch.setattr(packages, "installed", lambda name: version if name == "timm" else installed(name))
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
    monkeypatch.setattr(machine, "_rate", lambda work, seconds: 1.0)
    report = examine()
    slow = {check.name for check in report.checks if check.state == "slow"}
    assert {"arithmetic", "decoding"} <= slow and report.broken == ()


def test_a_check_that_fails_is_a_finding(monkeypatch):
    def explode():
        raise OSError("no such library\nat all")

    monkeypatch.setattr(machine, "decoding", explode)
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
    assert done.stderr.startswith("attar: Broken here: import torch.\n") and "attar distill" not in done.stdout


def test_json_is_one_document(monkeypatch, capsys):
    report = Report((Check("torch", "ok", "2.15"), Check("disk", "broken", "full", "make room")))
    monkeypatch.setattr(doctor, "examine", lambda: report)
    monkeypatch.setattr(sys, "argv", ["attar", "doctor", "--json"])
    with pytest.raises(SystemExit) as left:
        main.run()
    shown = capsys.readouterr()
    document = json.loads(shown.out)
    assert left.value.code == 2 and document["ok"] is False
    told = {"name": "disk", "state": "broken", "value": "full", "advice": "make room", "figure": None}
    assert document["checks"][1] == told and document["proposal"] is None
    assert "Broken here: disk" in shown.err


LAPTOP = Machine("cpu", 0, False, free_bytes=8 * 2**30, gflops=100.0, cores=4, threads=4)
STATION = Machine("cuda", 4, True, free_bytes=80 * 2**30, gflops=40_000.0, cores=16, threads=16)


def test_an_estimate_is_steps_times_views_times_both_passes_over_the_rate():
    tiny = next(network for network in NETWORKS if network.name == "vit_tiny_patch16_224")
    told = estimate(tiny, "fast", LAPTOP)
    assert told.minutes == pytest.approx(400 * 10 * 2.2 * tiny.gflop / 100 / 60)
    assert told.reading == pytest.approx(2 * 1000 * tiny.gflop / 100 / 60)


@pytest.mark.parametrize("preset", ["fast", "attar"])
def test_estimates_know_the_presets(preset):
    settings = choose_settings(preset)
    ours = estimate(NETWORKS[1], preset, LAPTOP)
    passes = ours.minutes * 60 * 100 / NETWORKS[1].gflop / 2.2
    assert passes == pytest.approx(settings.steps * settings.views * 10)
    assert ours.reading * 60 * 100 / NETWORKS[1].gflop == pytest.approx(1000 * settings.statistics_views)


@pytest.mark.parametrize("network", NETWORKS[:2], ids=lambda network: network.name)
def test_the_work_of_a_network_is_what_torch_counts(network):
    backbone = attar.backbone(network.name, weights="random")
    with FlopCounterMode(display=False) as counted:
        backbone(torch.zeros(1, 3, 224, 224))
    assert network.gflop == pytest.approx(counted.get_total_flops() / 1e9, rel=0.01)


def test_the_largest_network_of_a_quarter_of_an_hour_is_proposed():
    assert propose(replace(LAPTOP, gflops=2000.0)).flags["--backbone"] == "vit_base_patch16_224"
    assert propose(LAPTOP).flags["--backbone"] == "vit_small_patch16_224"
    assert propose(replace(LAPTOP, gflops=50.0)).flags["--backbone"] == "vit_tiny_patch16_224"
    assert propose(replace(LAPTOP, gflops=1.0)).flags["--backbone"] == "vit_tiny_patch16_224"  # the fastest of all
    assert propose(replace(LAPTOP, free_bytes=100 * 2**20)).flags["--backbone"] == "vit_tiny_patch16_224"
    assert propose(replace(LAPTOP, free_bytes=2**20)).flags["--backbone"] == "mobilenetv2_100"


def test_the_command_holds_every_flag_and_several_gpus_share_the_work():
    proposal = propose(STATION)
    assert proposal.command == (
        "torchrun --nproc-per-node 4 -m attar distill photos/train --backbone vit_base_patch16_224 --preset attar "
        "--device cuda --precision bf16 --memory 40GB --out photos.attar"
    )
    assert proposal.reasons.keys() == proposal.flags.keys()
    alone = propose(replace(STATION, accelerators=1, bf16=False))
    assert alone.command.startswith("attar distill") and "--precision fp32" in alone.command


def test_threads_are_held_to_the_cores_of_the_container():
    assert propose(replace(LAPTOP, threads=16)).command.startswith("OMP_NUM_THREADS=4 attar distill ")
    assert propose(LAPTOP).environment == {}


@pytest.mark.parametrize(
    ("files", "cores"),
    [({"cpu.max": "200000 100000"}, 2), ({"cpu.max": "50000 100000"}, 1), ({"cpu.max": "max 100000"}, 7), ({}, 7),
     ({"cpu/cpu.cfs_quota_us": "300000", "cpu/cpu.cfs_period_us": "100000"}, 3),
     ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 7)],
)  # fmt: skip
def test_the_quota_of_a_container_counts(files, cores, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(7)), raising=False)
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text + "\n")
    assert machine.allowed_cores(tmp_path) == cores


def test_the_doctor_ends_in_a_command_that_this_machine_takes(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["attar", "doctor"])
    with pytest.raises(SystemExit) as left:
        main.run()
    last = capsys.readouterr().out.splitlines()[-1]
    assert left.value.code == 0 and last.removeprefix("OMP_NUM_THREADS=").lstrip("0123456789 ").startswith("attar ")
    assert "--device cpu" in last or "--device cuda" in last or "--device mps" in last


numbers = st.lists(st.integers(0, 3), min_size=1, max_size=3).map(lambda parts: ".".join(map(str, parts)))
bounds = st.builds(str.__add__, st.sampled_from(["==", "!=", ">=", "<="]), numbers)
prefixes = st.builds("{}{}.*".format, st.sampled_from(["==", "!="]), numbers)


@given(numbers, st.lists(bounds | prefixes, max_size=3))
def test_bounds_mean_what_they_mean_to_pip(version: str, limits: list[str]):
    expected = SpecifierSet(",".join(limits)).contains(Version(version))
    assert fulfils(version, f"torch ({','.join(limits)})") == expected
    assert fulfils(f"{version}+cpu", f"torch{','.join(limits)}") == expected
