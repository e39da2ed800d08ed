"""A run's folder: begin, continue, refuse, start afresh; checkpoints, log, Ctrl-C."""

from __future__ import annotations

import json
import signal
import threading
import tomllib
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from attar import processes
from attar.errors import SettingsError
from attar.run import Run, deferred_interrupt, toml

SETTINGS = {"steps": 10, "lr": 1e-7, "flip": True, "data": 'Blüten 😀 \x7f "a\\b"', "mean": [0.5, 1.0], "none": None}


def test_a_run_begins_beside_its_result_and_continues(tmp_path):
    run = Run.begin(tmp_path / "x.attar", SETTINGS)
    assert run.folder == tmp_path / "x.attar.run" and not (tmp_path / "x.attar").exists()
    run.save_checkpoint(3, {"a": torch.arange(3)}, images=3)
    again = Run.begin(tmp_path / "x.attar", dict(reversed(SETTINGS.items())))
    assert again.load_checkpoint()[0] == 3
    assert again.settings() == {name: value for name, value in SETTINGS.items() if value is not None}


@pytest.mark.parametrize("out", [".", "..", "x/..", "x/../.."])
def test_a_folder_named_by_dots_has_its_run_beside_it(tmp_path, monkeypatch, out: str):
    (tmp_path / "work" / "x").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "work")
    assert Run.beside(Path(out)).folder == Path(f"{Path(out).resolve()}.run")


def test_other_settings_are_refused_with_the_difference(tmp_path):
    run = Run.begin(tmp_path / "x", SETTINGS)
    run.save_checkpoint(3, {"a": torch.zeros(1)}, images=1)
    before = (run.folder / "settings.toml").read_bytes()
    changed = {name: value for name, value in SETTINGS.items() if name != "flip"} | {"steps": 11, "extra": "new"}
    with pytest.raises(SettingsError) as caught:
        Run.begin(tmp_path / "x", changed)
    message = caught.value.message
    assert "extra None -> 'new', flip True -> None, steps 10 -> 11." in message and "--restart" in caught.value.hint
    assert "lr" not in message.partition("settings:")[2]
    assert (run.folder / "settings.toml").read_bytes() == before


def test_a_run_without_a_checkpoint_binds_nobody(tmp_path):
    Run.begin(tmp_path / "x", {"steps": 10})
    assert Run.begin(tmp_path / "x", {"steps": 11}).settings() == {"steps": 11}


def test_a_run_that_begins_again_shows_nothing_of_the_one_before(tmp_path):
    first = Run.begin(tmp_path / "x", {"steps": 3})
    for folder in (first.pictures, first.journey):
        folder.mkdir()
        (folder / "old.jpg").touch()
    second = Run.begin(tmp_path / "x", {"steps": 5})
    assert not list(second.pictures.glob("*")) and not list(second.journey.glob("*"))


def test_restart_forgets_everything(tmp_path):
    run = Run.begin(tmp_path / "x", {"steps": 10})
    run.save_checkpoint(3, {"a": torch.zeros(1)}, images=1)
    run.log(3, {"loss": 1.0})
    fresh = Run.begin(tmp_path / "x", {"steps": 11}, restart=True)
    assert fresh.load_checkpoint() is None and fresh.settings() == {"steps": 11}
    assert not (fresh.folder / "log.jsonl").exists()


def test_restart_deletes_no_folder_that_is_not_a_run(tmp_path):
    (tmp_path / "x.run").mkdir()
    (tmp_path / "x.run" / "thesis.txt").write_text("years")
    Run.begin(tmp_path / "x", {"steps": 1}, restart=True)
    assert (tmp_path / "x.run" / "thesis.txt").read_text() == "years"


def test_a_checkpoint_without_settings_is_not_continued(tmp_path):
    """What a --restart leaves that was killed while it deleted the folder."""
    run = Run.begin(tmp_path / "x", {"steps": 10})
    run.save_checkpoint(3, {"a": torch.zeros(1)}, images=1)
    run.log(2, {"loss": 1.0})
    (run.folder / "settings.toml").unlink()
    assert Run.begin(tmp_path / "x", {"steps": 11}).load_checkpoint() is None
    assert not (run.folder / "log.jsonl").exists()


def test_a_checkpoint_comes_back_as_it_was(tmp_path):
    run = Run.begin(tmp_path / "x", {})
    assert run.load_checkpoint() is None
    state = {"canvas": torch.randn(5, 3), "strided": torch.randn(3, 5).T, "step": torch.tensor(7.0)}
    run.save_checkpoint(1, {"canvas": torch.zeros(1)}, images=1)
    run.save_checkpoint(12, state, images=5)
    step, loaded = run.load_checkpoint()
    assert step == 12 and loaded.keys() == state.keys()
    assert all(torch.equal(loaded[name], state[name]) for name in state)
    assert len(list((run.folder / "checkpoint").iterdir())) == 1  # the earlier one is gone
    assert {path.name for path in run.folder.iterdir()} == {"settings.toml", "checkpoint.json", "checkpoint"}


@pytest.mark.parametrize("damage", ["cut", "empty", "no step"])
def test_a_damaged_checkpoint_is_one_sentence(tmp_path, damage: str):
    run = Run.begin(tmp_path / "x", {})
    run.save_checkpoint(12, {"a": torch.zeros(100)}, images=100)
    (path,) = (run.folder / "checkpoint").iterdir()
    if damage == "no step":
        save_file({"a": torch.zeros(100)}, path)
    else:
        path.write_bytes(path.read_bytes()[: 50 if damage == "cut" else 0])
    with pytest.raises(SettingsError, match="is damaged") as caught:
        run.load_checkpoint()
    assert "--restart" in caught.value.hint


@pytest.mark.parametrize("content", [b"steps = ", b"\xff\xfe"])
def test_damaged_settings_are_one_sentence_and_restart_helps(tmp_path, content: bytes):
    run = Run.begin(tmp_path / "x", {"steps": 1})
    (run.folder / "settings.toml").write_bytes(content)
    with pytest.raises(SettingsError, match="is damaged"):
        Run.begin(tmp_path / "x", {"steps": 1})
    assert Run.begin(tmp_path / "x", {"steps": 1}, restart=True).settings() == {"steps": 1}


def test_the_log_forgets_steps_that_come_again_and_a_torn_last_line(tmp_path):
    run = Run.begin(tmp_path / "x", {})
    run.forget_log_from(0)
    for step in range(5):
        run.log(step, {"loss": step / 3})
    with (run.folder / "log.jsonl").open("a") as file:
        file.write('{"step": 5, "lo')
    run.forget_log_from(3)
    lines = [json.loads(line) for line in (run.folder / "log.jsonl").read_text().splitlines()]
    assert lines == [{"step": step, "loss": step / 3} for step in range(3)]


def test_places_are_kept(tmp_path):
    run = Run.begin(tmp_path / "x", {})
    assert run.place("train") is None
    run.note_place(train="a folder/with 😀")
    assert run.place("train") == "a folder/with 😀" and run.place("test") is None


@given(
    st.dictionaries(
        st.from_regex(r"[a-z_]{1,9}", fullmatch=True),
        st.one_of(
            st.text(), st.integers(-(2**63), 2**63 - 1), st.booleans(), st.floats(allow_nan=False, allow_infinity=False)
        ),
    )
)
def test_settings_survive_toml(values):
    assert tomllib.loads(toml(values)) == values


def test_a_file_name_that_is_not_unicode_does_not_stop_a_run_from_continuing(tmp_path):
    for _ in range(2):
        Run.begin(tmp_path / "x", {"data": "caf\udce9"})


def test_ctrl_c_waits_for_the_end_of_a_step_and_twice_does_not():
    previous = signal.getsignal(signal.SIGINT)
    with deferred_interrupt() as pressed:
        assert not pressed()
        signal.raise_signal(signal.SIGINT)
        assert pressed()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is previous


def test_ctrl_c_works_as_before_afterwards():
    with pytest.raises(ZeroDivisionError), deferred_interrupt():
        raise ZeroDivisionError
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_other_threads_can_run_it_too():
    seen = []

    def work():
        with deferred_interrupt() as pressed:
            seen.append(pressed())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [False]


@pytest.mark.parametrize(("writers", "readers"), [(1, 3), (3, 1), (2, 3), (3, 2)])
def test_any_number_of_processes_reads_what_any_number_wrote(tmp_path, monkeypatch, writers: int, readers: int):
    run, images = Run.begin(tmp_path / "x", {}), 7
    whole = {"canvas": torch.randn(images, 5), "step": torch.tensor(7.0)}

    def become(number: int, count: int) -> range:
        monkeypatch.setattr(processes, "number", lambda: number)
        monkeypatch.setattr(processes, "count", lambda: count)
        return processes.share(images)

    monkeypatch.setattr(processes, "wait", lambda: None)
    for number in reversed(range(writers)):  # the first comes last, once the others wait for it
        own = become(number, writers)
        state = {"canvas": whole["canvas"][own.start : own.stop], "step": whole["step"]}
        run.save_checkpoint(11, state, images=images)
    for number in range(readers):
        own = become(number, readers)
        step, state = run.load_checkpoint()
        assert step == 11 and torch.equal(state["canvas"], whole["canvas"][own.start : own.stop])
        assert state["step"] == 7


def test_sigterm_may_come_twice():
    with deferred_interrupt() as interrupted:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        assert interrupted()
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
