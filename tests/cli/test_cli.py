"""The command line: what it prints, where, and with which exit code."""

from __future__ import annotations

import json
import os
import pickle
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from safetensors.torch import save_file

from attar import choose_settings
from attar.cli.options import BackboneOptions, bytes_of
from attar.errors import SettingsError
from attar.features import ClassStatistics
from attar.files import cache_folder
from attar.synthesis.matching import Matching
from small import CLASSES, coloured, network, save_npz, write_folder

SMALL = ["--backbone", "py:small:network"]
QUICK = ["--steps", "4", "--set", "statistics_views=0"]


@pytest.fixture
def folder(tmp_path) -> Path:
    write_folder(coloured(3), tmp_path / "photos")
    return tmp_path / "photos"


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(Path(__file__).parents[1]), "OMP_NUM_THREADS": "1", "COLUMNS": "200"}


@pytest.mark.parametrize("arguments", [["--help"], ["distill", "--help"], ["evaluate", "--help"], ["demo", "--help"],
                                       ["features", "--help"], ["doctor", "--help"], ["backbones", "--help"],
                                       ["inherit", "--help"], ["predict", "--help"], ["export", "--help"],
                                       ["audit", "--help"], ["refine", "--help"], ["edits", "--help"],
                                       ["--version"], ["distill", "--nonsense"]])  # fmt: skip
def test_help_and_bad_arguments_import_neither_torch_nor_pydantic(arguments):
    code = (
        "import sys\nsys.argv = ['attar', *sys.argv[1:]]\nfrom attar.cli.main import run\n"
        "try:\n    run()\nexcept SystemExit:\n    pass\n"
        "print('MODULES', *sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, env=environment(), check=True
    )
    shown, _, modules = done.stdout.partition("MODULES")
    imported = set(modules.split())
    assert {"typer", "attar"} < imported and not {"torch", "numpy", "timm", "PIL", "scipy"} & imported
    assert "pydantic" not in imported or "typer._adapters" in imported  # newer typer imports it by itself
    assert shown or done.stderr
    if arguments[1:] == ["--help"]:
        assert f"attar {arguments[0]}" in shown


def test_the_console_script_distils_and_evaluates(tmp_path, train, test_images):
    script = [sys.executable, "-c", "from attar.cli.main import run; run()"]
    out = tmp_path / "x.attar"

    def call(*arguments):
        return subprocess.run(
            [*script, *map(str, arguments)], capture_output=True, text=True, env=environment(), check=True
        )

    made = call("distill", train, *SMALL, *QUICK, "--out", out)
    assert made.stdout == "" and "Next: attar evaluate" in made.stderr and (out / "preview.png").is_file()
    measured = call("evaluate", out, "--test", test_images, *SMALL)  # --train: where the run says
    assert all(method in measured.stdout for method in ("sfm", "random", "centroids", "ncm", "full"))


def test_json_is_one_document_on_stdout(tmp_path, attar, train, test_images):
    out = tmp_path / "x.attar"
    code, shown, err = attar("distill", train, *SMALL, *QUICK, "--out", out, "--json", "--seeds", 2)
    document = json.loads(shown)
    assert code == 0 and [Path(one["path"]).name for one in document["sets"]] == ["x.attar-0", "x.attar-1"]
    assert [one["seeds"]["distill"] for one in document["sets"]] == [3407, 3408]
    assert document["sets"][0]["settings"]["steps"] == 4 and "Next: attar evaluate" in err
    sets = [tmp_path / "x.attar-0", tmp_path / "x.attar-1"]
    code, shown, err = attar("evaluate", *sets, "--test", test_images, "--train", train, *SMALL, "--json")
    rows = json.loads(shown)["rows"]
    assert code == 0 and rows[0]["method"] == "sfm" and rows[0]["seeds"]["distill"] == [3407, 3408]
    assert rows[0]["ci95"] is not None and {row["table"] for row in rows} == {"probe-v1", "probe-v1/std"}


def test_later_settings_win_preset_file_set_flag(tmp_path, attar, train):
    (tmp_path / "mine.toml").write_text("steps = 7\nlr = 0.5\ngrow_every = 3\n")
    code, shown, _ = attar(
        "distill", train, *SMALL, "-o", tmp_path / "x", "--json", "--preset", "fast", "--settings",
        tmp_path / "mine.toml", "--set", "lr=0.25", "--set", "steps=6", "--steps", 5,
    )  # fmt: skip
    settings = json.loads(shown)["sets"][0]["settings"]
    assert code == 0 and (settings["steps"], settings["lr"], settings["grow_every"]) == (5, 0.25, 3)
    assert settings["w_mean"] == choose_settings("fast").options.w_mean > 0


def harmful(path: Path) -> Path:
    """A pickle that would create the file `path`.ran when loaded."""

    class Harm:
        def __reduce__(self):
            return (Path.touch, (Path(f"{path}.ran"),))

    with path.open("wb") as file:
        pickle.dump(Harm(), file, protocol=2)
    return path


def spoil(folder: Path) -> Path:
    Image.new("RGB", (16, 16)).save(folder / "ant" / "bad.jpg")
    file = folder / "ant" / "bad.jpg"
    file.write_bytes(file.read_bytes()[:200])
    return folder


MISTAKES = {
    "missing folder": (lambda t, f: ["nowhere"], "no folder or file 'nowhere'"),
    "corrupt JPEG": (lambda t, f: [spoil(f)], "ant/bad.jpg"),
    "empty class": (lambda t, f: [(f / "empty").mkdir() or f], "Class empty"),
    "unknown backbone": (lambda t, f: [f, "--backbone", "vit_tinny_patch16_224"], "vit_tinny"),
    "unknown function": (lambda t, f: [f, "--backbone", "py:small:nothing"], "py:small:nothing"),
    "weights that run code": (lambda t, f: [f, "--weights", harmful(t / "w.pth")], "would execute code"),
    "missing weights": (lambda t, f: [f, "--weights", "no.pth"], "no weights file 'no.pth'"),
    "unknown preset": (lambda t, f: [f, "--preset", "papr"], "no preset 'papr'"),
    "two numbers": (lambda t, f: [f, "--mean", ".5,.5"], "--mean '.5,.5' is not three numbers"),
    "no numbers": (lambda t, f: [f, "--std", "a,b,c"], "--std 'a,b,c' is not three numbers"),
    "memory": (lambda t, f: [f, "--memory", "lots"], "--memory 'lots' is not a size"),
    "negative memory": (lambda t, f: [f, "--memory", "-1GB"], "--memory '-1GB' is not a size"),
    "endless memory": (lambda t, f: [f, "--memory", "infG"], "--memory 'infG' is not a size"),
    "unknown setting": (lambda t, f: [f, "--set", "stepps=3"], "no setting 'stepps'"),
    "a setting named preset": (lambda t, f: [f, "--set", "preset=fast"], "no setting 'preset'"),
    "no =": (lambda t, f: [f, "--set", "steps"], "--set 'steps' has no '='"),
    "out of range": (lambda t, f: [f, "--steps", "0"], "Setting steps = 0"),
    "not finite": (lambda t, f: [f, "--set", "lr=inf"], "Setting lr"),
    "settings file": (lambda t, f: [f, "--settings", "no.toml"], "Can't read settings from no.toml"),
    "device": (lambda t, f: [f, "--device", "abacus"], "Device 'abacus' can't be used"),
    "precision": (lambda t, f: [f, "--precision", "fp1"], "Unknown precision 'fp1'"),
    "normalise": (lambda t, f: [f, "--normalise", "loud"], "Setting normalise = 'loud'"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_sentence_exit_code_2_and_nothing_written(tmp_path, attar, folder, mistake: str):
    arguments, sentence = MISTAKES[mistake]
    given = arguments(tmp_path, folder)
    backbone = [] if "--backbone" in given else SMALL
    code, shown, err = attar("distill", *given, *backbone, "--out", tmp_path / "out" / "x.attar")
    assert code == 2 and shown == "" and "Traceback" not in err
    message = re.search(r"^attar: (.*)", err, re.MULTILINE | re.DOTALL).group(1)
    assert sentence in message and len(message.strip().splitlines()) <= 3
    assert not (tmp_path / "out").exists() and not list(tmp_path.glob("*.ran"))


def test_the_harmful_weights_of_these_tests_are_harmful(tmp_path):
    with harmful(tmp_path / "w.pth").open("rb") as file:
        pickle.load(file)
    assert (tmp_path / "w.pth.ran").exists()


def test_a_foreign_folder_at_out_is_refused(tmp_path, attar, train, folder):
    before = sorted(folder.rglob("*"))
    code, _, err = attar("distill", train, *SMALL, *QUICK, "--out", folder)
    assert code == 2 and "is not a distilled set" in err
    assert sorted(folder.rglob("*")) == before


def test_skip_corrupt_leaves_images_out(tmp_path, attar, folder):
    out = tmp_path / "x"
    code, shown, _ = attar("distill", spoil(folder), *SMALL, *QUICK, "--out", out, "--skip-corrupt", "--json")
    assert code == 0 and json.loads(shown)["sets"][0]["train_images"] == 9


@pytest.fixture
def made(tmp_path, attar, train) -> Path:
    assert attar("distill", train, *SMALL, *QUICK, "--out", tmp_path / "x.attar")[0] == 0
    return tmp_path / "x.attar"


@pytest.mark.parametrize(
    ("classes", "sentence"),
    [(("ant", "bee"), "the test set lacks cow"), ((*CLASSES, "dog"), "the test set has dog beside them")],
)
def test_other_classes_in_the_test_set_are_named(tmp_path, attar, made, classes, sentence):
    other = save_npz(coloured(3, classes=classes), tmp_path / "other.npz")
    code, shown, err = attar("evaluate", made, "--test", other, *SMALL)
    assert code == 2 and sentence in err and shown == "" and "Traceback" not in err


def test_an_unknown_protocol_and_a_folder_that_is_no_set_are_named(tmp_path, attar, made, test_images, folder):
    code, _, err = attar("evaluate", made, "--test", test_images, *SMALL, "-p", "prob-v1")
    assert code == 2 and "no protocol 'prob-v1'" in err and "Did you mean probe-v1" in err
    code, _, err = attar("evaluate", folder, "--test", test_images, *SMALL)
    assert code == 2 and "is not a distilled set" in err


def test_without_the_training_images_rows_are_missing_and_it_says_why(tmp_path, attar, made, train, test_images):
    train.unlink()
    code, shown, _ = attar("evaluate", made, "--test", test_images, *SMALL)
    assert code == 0 and "n/a: random" in shown and "centroids " not in shown.partition("n/a")[0]


def test_usage_errors_exit_with_2(attar):
    for arguments in (["distill"], ["nonsense"], ["distill", "x", *SMALL, "-o", "y", "--seeds", "0"]):
        code, shown, err = attar(*arguments)
        assert code == 2 and shown == "" and "Traceback" not in err and "Usage" in err


def test_ctrl_c_exits_with_130_says_how_to_go_on_and_the_same_command_goes_on(tmp_path, attar, train, monkeypatch):
    command = ["distill", train, *SMALL, *QUICK, "--out", tmp_path / "x"]
    step = Matching.step

    def interrupted(self, number):
        if number == 2:
            signal.raise_signal(signal.SIGINT)
        return step(self, number)

    with monkeypatch.context() as patch:
        patch.setattr(Matching, "step", interrupted)
        code, _, err = attar(*command)
    assert code == 130 and "attar: interrupted." in err and "Traceback" not in err
    assert not (tmp_path / "x").exists()
    code, _, err = attar(*command)
    assert code == 0 and "Continuing after step 3 of 4" in err and (tmp_path / "x" / "attar.json").is_file()


@pytest.mark.parametrize(
    ("words", "shown"), [((), "attar: interrupted.\n"), (("Go on so.",), "attar: interrupted. Go on so.\n")]
)
def test_an_interrupted_command_says_what_it_has_to_say(tmp_path, attar, train, monkeypatch, words, shown):
    def interrupted(self, number):
        raise KeyboardInterrupt(*words)

    monkeypatch.setattr(Matching, "step", interrupted)
    code, _, err = attar("distill", train, *SMALL, *QUICK, "--out", tmp_path / "x")
    assert code == 130 and err.endswith(shown)


def test_the_next_command_says_every_option_of_the_backbone_again(tmp_path, attar, train, test_images):
    weights = tmp_path / "my weights.safetensors"
    save_file({f"module.{name}": value for name, value in network().state_dict().items()}, weights)
    options = [*SMALL, "--weights", weights, "--image-size", 9, "--mean", ".4,.5,.6", "--std", ".2,.2,.3",
               "--key-map", "module.="]  # fmt: skip
    code, _, err = attar("distill", train, *QUICK, "--out", tmp_path / "my set", *options, "--normalise", "imagenet")
    command = shlex.split(re.search(r"^Next: attar (.*)$", err, re.MULTILINE).group(1))
    assert code == 0 and command[:4] == ["evaluate", str(tmp_path / "my set"), "--test", "TEST_IMAGES"]
    pairs = set(zip(command[4::2], command[5::2], strict=True))
    given = [str(part) for part in options]
    assert pairs == {*zip(given[::2], given[1::2], strict=True), ("--normalise", "imagenet")}
    code, _, err = attar(*(test_images if part == "TEST_IMAGES" else part for part in command))
    assert code == 0 and f"torchvision.datasets.ImageFolder('{tmp_path / 'my set' / 'images'}')" in err


def test_arguments_of_the_model_are_said_again_and_the_native_normalise_is_not():
    said = BackboneOptions(["py:a:b"], model_arg=["width=3", "deep=true"]).words()
    assert said == ["--backbone", "py:a:b", "--model-arg", "width=3", "--model-arg", "deep=true"]


def test_several_backbones_take_their_options_in_order():
    said = BackboneOptions(["a", "b"], weights=["a.pth", "hub"], image_size=[32, 48]).words()
    each = "--backbone a --weights a.pth --image-size 32 --backbone b --weights hub --image-size 48"
    assert said == each.split()
    with pytest.raises(SettingsError, match="--weights is given 1 times for 2 backbones"):
        BackboneOptions(["a", "b"], weights=["a.pth"]).words()
    with pytest.raises(SettingsError, match="fit one backbone"):
        BackboneOptions(["a", "b"], model_arg=["width=3"]).open()


def test_two_backbones_in_one_run_and_in_one_evaluation(tmp_path, attar, train, test_images):
    """The same network at two sizes counts as two backbones."""
    both = [*SMALL, *SMALL, "--image-size", 8, "--image-size", 12]
    code, out, _ = attar("distill", train, *both, *QUICK, "--out", tmp_path / "x", "--json")
    assert code == 0
    made = json.loads(out)["sets"][0]
    assert len(made["backbones"]) == 2 and made["image_side"] == 12
    code, out, _ = attar("evaluate", tmp_path / "x", "--test", test_images, *both, "-p", "probe-v1", "--json")
    assert code == 0
    assert [row["method"] for row in json.loads(out)["rows"]].count("sfm") == 2


def test_features_fill_the_cache_that_a_distillation_reads(tmp_path, attar, train):
    out = tmp_path / "statistics.safetensors"
    code, printed, _ = attar("features", train, *SMALL, "--preset", "fast", "--out", out, "--json")
    told = json.loads(printed)["statistics"][0]
    assert code == 0 and told["classes"] == 3 and told["dim"] == 28
    statistics = ClassStatistics.load(out)
    assert statistics.counts.sum() == 2 * told["images"]  # two views of each
    files = {path: path.stat().st_mtime_ns for path in (cache_folder() / "features").rglob("*.safetensors")}
    assert files
    assert attar("distill", train, *SMALL, "--preset", "fast", "--steps", 3, "--out", tmp_path / "x")[0] == 0
    assert files == {path: path.stat().st_mtime_ns for path in (cache_folder() / "features").rglob("*.safetensors")}


def test_classes_and_limit_choose_among_the_images(tmp_path, attar, train, test_images):
    few = ["--classes", "ant,cow", "--limit", 2]
    code, out, _ = attar("distill", train, *SMALL, *QUICK, *few, "--out", tmp_path / "x", "--json")
    made = json.loads(out)["sets"][0]
    assert code == 0 and made["classes"] == ["ant", "cow"] and made["train_images"] == 4
    code, _, err = attar("evaluate", tmp_path / "x", "--test", test_images, *SMALL)
    assert code == 2 and "--classes" in err
    assert attar("evaluate", tmp_path / "x", "--test", test_images, *SMALL, "--classes", "ant,cow")[0] == 0


def test_backbones_are_listed_with_their_licences(attar):
    code, out, _ = attar("backbones", "dinov2*")
    assert code == 0 and "dinov2_vitb14" in out and "Apache-2.0" in out and "clip" not in out
    code, out, _ = attar("backbones", "--json")
    assert {"name", "loader", "source", "mean"} <= json.loads(out)["backbones"][0].keys()


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (PermissionError(13, "Permission denied", "a/b"), "Can't use a/b: Permission denied."),
        (OSError(28, "No space left on device"), "Can't go on: No space left on device."),
    ],
)
def test_what_the_machine_refuses_is_one_sentence_and_exit_code_2(tmp_path, attar, train, monkeypatch, error, sentence):
    def refused(self, number):
        raise error

    monkeypatch.setattr(Matching, "step", refused)
    code, shown, err = attar("distill", train, *SMALL, *QUICK, "--out", tmp_path / "x")
    assert code == 2 and shown == "" and f"attar: {sentence}\nCheck the path" in err and "bug" not in err


def test_an_out_inside_a_file_is_one_sentence(tmp_path, attar, train):
    code, _, err = attar("distill", train, *SMALL, *QUICK, "--out", train / "x")
    assert code == 2 and f"Can't use {train}" in err and "Traceback" not in err


def test_a_bug_whose_log_can_not_be_written_is_still_one_sentence(tmp_path, attar, train, monkeypatch):
    def broken(self, number):
        monkeypatch.setenv("ATTAR_CACHE", str(train))
        raise ZeroDivisionError("seven")

    monkeypatch.setattr(Matching, "step", broken)
    code, _, err = attar("distill", train, *SMALL, *QUICK, "--out", tmp_path / "x")
    assert code == 1 and err.endswith("attar: a bug, sorry: ZeroDivisionError: seven\nPlease report it.\n")


def test_a_bug_exits_with_1_and_names_a_log(tmp_path, attar, train, monkeypatch):
    def broken(self, number):
        raise ZeroDivisionError("seven")

    monkeypatch.setattr(Matching, "step", broken)
    code, shown, err = attar("distill", train, *SMALL, *QUICK, "--out", tmp_path / "x")
    assert code == 1 and shown == "" and "ZeroDivisionError: seven" in err and "Traceback" not in err
    log = Path(re.search(r"report it with (.*\.log)", err).group(1))
    assert "Traceback" in log.read_text() and "in broken" in log.read_text()


@pytest.mark.parametrize(
    ("text", "size"),
    [("1000", 1000), ("2k", 2048), ("4GB", 4 * 2**30), ("4GiB", 4 * 2**30), ("1.5M", 3 * 2**19), ("1tb", 2**40)],
)
def test_sizes_are_read_as_people_write_them(text: str, size: int):
    assert bytes_of(text) == size
