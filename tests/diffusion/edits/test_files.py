"""Records of stages: what is done stays done, what was made otherwise is refused, a kill costs one part."""

from __future__ import annotations

import pytest

from attar.diffusion.edits.files import EditsFiles, content, drop_cut_line, read_json
from attar.errors import FileError, SettingsError
from attar.files import write_text


@pytest.fixture
def files(tmp_path) -> EditsFiles:
    return EditsFiles(tmp_path / "out.run")


def made(files: EditsFiles, stage="fuse", part="tench", inputs="abc", **settings):
    """A record in which `part` is done."""
    record = files.open_record(stage, settings or {"temperature": 0.01, "clip": None})
    write_text(files.clusters(part), "{}")
    record.keep(part, inputs)
    return record


def test_a_part_is_done_while_its_input_is_the_same_and_its_file_is_there(files):
    made(files)
    again = files.open_record("fuse", {"temperature": 0.01, "clip": None})
    assert again.is_done("tench", "abc", files.clusters("tench")) and not again.is_done("church", "abc")
    files.clusters("tench").unlink()
    assert not again.is_done("tench", "abc", files.clusters("tench"))


def test_another_input_and_other_settings_are_refused_by_name(files):
    made(files)
    with pytest.raises(SettingsError, match=r"another input of tench[^\n]*\nUse --restart"):
        files.open_record("fuse", {}).is_done("tench", "xyz", files.clusters("tench"))
    with pytest.raises(SettingsError, match=r"other settings: temperature 0.01 -> 0.5\."):
        files.open_record("fuse", {"temperature": 0.5, "clip": None})


def test_what_is_known_later_of_a_stage_counts_too(files):
    made(files).refuse_other_settings({"clip_fingerprint": "f" * 8})
    record = files.open_record("fuse", {})
    record.refuse_other_settings({"clip_fingerprint": "f" * 8})
    record.keep("church", "abc")
    with pytest.raises(SettingsError, match="clip_fingerprint"):
        files.open_record("fuse", {"clip_fingerprint": "e" * 8})


def test_a_run_that_did_nothing_yet_takes_other_settings(files):
    files.open_record("fuse", {"temperature": 0.01})
    files.open_record("fuse", {"temperature": 0.5})


@pytest.mark.parametrize("cut", range(2, 20))
def test_a_line_that_a_kill_has_cut_costs_its_part_alone(files, cut: int):
    made(files, part="tench")
    made(files, part="church")
    file = files.record("fuse")
    file.write_bytes(file.read_bytes()[:-cut])
    record = files.open_record("fuse", {"temperature": 0.01, "clip": None})
    assert record.is_done("tench", "abc") and not record.is_done("church", "abc")
    record.keep("church", "abc")
    assert files.open_record("fuse", {}).is_done("church", "abc")


def test_a_last_line_that_lacks_its_end_alone_is_kept(tmp_path):
    file = tmp_path / "lines.jsonl"
    file.write_bytes('{"a": 1}\n{"a": "né"}'.encode())
    assert drop_cut_line(file) == '{"a": 1}\n{"a": "né"}\n' == file.read_text("utf-8")


def test_a_cut_through_a_letter_costs_its_line_alone(tmp_path):
    file = tmp_path / "lines.jsonl"
    file.write_bytes('{"a": 1}\n{"a": "né'.encode()[:-1])
    assert drop_cut_line(file) == '{"a": 1}\n' == file.read_text("utf-8")
    file.write_bytes(b"\xff\n")
    with pytest.raises(FileError, match="Can't read"):
        drop_cut_line(file)


def test_seconds_are_summed_over_sessions(files):
    files.open_record("generate", {}).keep("a/0.png", "x", seconds=1.5)
    again = files.open_record("generate", {})
    again.keep("a/1.png", "y", seconds=2.25)
    assert again.seconds(["a/0.png", "a/1.png"]) == 3.75


def test_captions_that_no_record_claims_are_a_persons_own(files):
    write_text(files.captions, "{}")
    files.forget_from("caption")
    assert files.captions.is_file()
    made(files, "caption")
    files.forget_from("caption", captions=False)
    assert files.captions.is_file() and not files.record("caption").exists()


def test_a_damaged_record_is_one_sentence(files):
    made(files)
    files.record("fuse").write_text('[1]\n{"part": 1}\n')
    with pytest.raises(FileError, match="is damaged"):
        files.open_record("fuse", {})


def test_a_stage_that_is_forgotten_takes_the_later_ones_with_it(files):
    for stage in ("caption", "fuse", "prototypes", "generate"):
        made(files, stage)
    for file in (files.captions, files.features("tench"), files.prototypes("tench"), files.image("tench", 0)):
        write_text(file, "{}")
    write_text(files.answers, "{}\n")
    files.forget_from("fuse")
    kept = [files.captions, files.record("caption"), files.features("tench"), files.answers]
    gone = [files.clusters("tench"), files.prototypes("tench"), files.image("tench", 0)]
    gone += [files.record(stage) for stage in ("fuse", "prototypes", "generate")]
    assert all(file.is_file() for file in kept) and not any(file.exists() for file in gone)
    files.forget_from("caption")
    assert not files.captions.exists() and files.answers.is_file()


def test_files_that_are_missing_or_edited_badly_are_named(files):
    with pytest.raises(FileError, match=r"tench.json is not there"):
        content(files.clusters("tench"))
    write_text(files.clusters("tench"), "{]")
    with pytest.raises(FileError, match=r"Can't read .*tench\.json: Expecting property name"):
        read_json(files.clusters("tench"))
    write_text(files.clusters("tench"), "[]")
    with pytest.raises(FileError, match="holds no JSON object"):
        read_json(files.clusters("tench"))
