"""What TensorBoard reads back is what a run said."""

from __future__ import annotations

import json
import signal
import sys
import time

import numpy as np
import pytest
from PIL import Image

import attar
from attar.cli import main
from attar.errors import SettingsError
from attar.progress import Progress, Together
from attar.synthesis import choose_settings, steps
from attar.tensorboard import TensorBoard
from small import coloured, save_npz, small_backbone

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # TensorBoard's own
pytest.importorskip("tensorboard")


def read(folder):
    """TensorBoard's own view of a folder."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder))
    found.Reload()
    return found


def curve(folder, name):
    return [(event.step, event.value) for event in read(folder).Scalars(name)]


def texts(folder, name):
    return [event.tensor_proto.string_val[0].decode() for event in read(folder).Tensors(f"{name}/text_summary")]


def let_a_second_pass():
    """TensorBoard orders the files of a folder by the second in which they began."""
    second = int(time.time())
    while int(time.time()) == second:
        time.sleep(0.01)


def picture(path):
    Image.fromarray(np.arange(7 * 11 * 3, dtype=np.uint8).reshape(7, 11, 3)).save(path)
    return path


def test_figures_become_a_curve_of_their_task(tmp_path):
    with TensorBoard(tmp_path) as board:
        board.advance("features, a/b", 3, 7)
        for step in (1, 2, 3):
            board.advance("distilling", step, 3, {"loss": 1 / step, "cosine": 0.25})

    assert curve(tmp_path / "distilling", "loss") == [(1, 1.0), (2, 0.5), (3, pytest.approx(1 / 3))]
    assert curve(tmp_path / "distilling", "cosine") == [(1, 0.25), (2, 0.25), (3, 0.25)]
    assert [folder.name for folder in tmp_path.iterdir()] == ["distilling"]  # tasks without figures leave nothing


def test_a_resumed_run_continues_its_curve_and_leaves_other_tasks_alone(tmp_path):
    with TensorBoard(tmp_path) as board:
        for step in range(1, 6):
            board.advance("first", step, 7, {"loss": float(step)})
            board.advance("other", step, 7, {"loss": float(-step)})
    let_a_second_pass()
    with TensorBoard(tmp_path) as board:  # a kill lost the steps after the third
        board.picture(picture(tmp_path / "two.png"))
        for step in range(4, 8):
            board.advance("first", step, 7, {"loss": float(10 * step)})

    assert curve(tmp_path / "first", "loss") == [(1, 1), (2, 2), (3, 3), (4, 40), (5, 50), (6, 60), (7, 70)]
    assert curve(tmp_path / "other", "loss") == [(step, -step) for step in range(1, 6)]


def test_pictures_plan_and_notes_are_kept_as_they_are(tmp_path):
    path = picture(tmp_path / "odd.png")
    with TensorBoard(tmp_path) as board:
        board.plan("10 images, 7 steps\n2 chunks")
        board.advance("distilling", 5, 7, {"loss": 1.0})
        board.picture(path)
        board.note("look at *this*")

    (shown,) = read(tmp_path / "distilling").Images("picture")
    assert (shown.step, shown.width, shown.height) == (5, 11, 7)
    (tmp_path / "back.png").write_bytes(shown.encoded_image_string)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "back.png")), np.asarray(Image.open(path)))
    assert texts(tmp_path, "plan") == ["    10 images, 7 steps\n    2 chunks"]
    assert texts(tmp_path / "distilling", "note") == ["    look at *this*"]


def test_together_tells_everyone_everything(tmp_path):
    class Heard(Progress):
        def __init__(self):
            self.said = []

        def plan(self, text):
            self.said.append(("plan", text))

        def note(self, text):
            self.said.append(("note", text))

        def picture(self, path):
            self.said.append(("picture", path))

        def advance(self, task, done, total, figures=None):
            self.said.append((task, done, total, figures))

    first, second = Heard(), Heard()
    both = Together(first, second)
    both.plan("p")
    both.note("n")
    both.picture(tmp_path)
    both.advance("t", 1, 2, {"loss": 3.0})

    assert first.said == [("plan", "p"), ("note", "n"), ("picture", tmp_path), ("t", 1, 2, {"loss": 3.0})]
    assert second.said == first.said


def test_without_tensorboard_one_sentence_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(SettingsError, match=r"pip install 'attar\[tensorboard\]'"):
        TensorBoard(tmp_path)


def test_a_run_that_was_interrupted_shows_what_it_logged_as_one_curve(tmp_path, monkeypatch):
    class Interrupt(Progress):
        def advance(self, task, done, total, figures=None):
            if task == "distilling" and done == 3:
                signal.raise_signal(signal.SIGINT)

    def distilled(*beside):
        with TensorBoard(tmp_path / "board") as board:
            told = Together(board, *beside)
            attar.distill(coloured(5), small_backbone(), tmp_path / "x", settings=settings, progress=told)

    monkeypatch.setattr(steps, "_LOG_EVERY", 1)
    settings = choose_settings(steps=7, grow_every=2, ipc=1)
    with pytest.raises(KeyboardInterrupt):
        distilled(Interrupt())
    let_a_second_pass()
    distilled()

    logged = [json.loads(line) for line in (tmp_path / "x.run" / "log.jsonl").read_text().splitlines()]
    expected = [(line["step"] + 1, pytest.approx(line["loss"])) for line in logged]
    assert len(logged) == 7 and curve(tmp_path / "board" / "distilling", "loss") == expected
    assert read(tmp_path / "board" / "distilling").Images("picture")


def test_the_command_keeps_a_folder_for_each_set(tmp_path, monkeypatch, capsys):
    train = save_npz(coloured(5), tmp_path / "train.npz")
    words = f"attar distill {train} --backbone py:small:network --out {tmp_path / 'x'} --seeds 2 --steps 3"
    monkeypatch.setattr(sys, "argv", [*words.split(), "--tensorboard", str(tmp_path / "board")])
    with pytest.raises(SystemExit) as left:
        main.run()
    assert not left.value.code, capsys.readouterr().err

    for name in ("x-0", "x-1"):
        assert [step for step, _ in curve(tmp_path / "board" / name / "distilling", "loss")] == [1, 2, 3]
