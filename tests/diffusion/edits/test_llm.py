"""The language model: what leaves this machine, what is asked twice, and what each failure comes to."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from attar.diffusion.edits import llm
from attar.diffusion.edits.llm import Answer, LanguageModel
from attar.errors import FileError, SettingsError
from stub_llm import StubModel, fails, hangs, raw, says, serving

CAPTIONS = ["A beagle runs", "A beagle sits"]
SECRET = "sk-very-secret"


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(llm, "_WAIT", 0.0)
    monkeypatch.setenv("TEXT_KEY", SECRET)


def opened(stub: StubModel, folder: Path, **options: float) -> LanguageModel:
    return LanguageModel("m", stub.url, cache=folder / "cache.jsonl", key_variable="TEXT_KEY", **options)


def test_an_answer_is_asked_for_once(tmp_path):
    with serving(says(" A beagle outside. ")) as stub:
        assert opened(stub, tmp_path).merge(CAPTIONS, "beagle") == Answer("A beagle outside.")
        again = opened(stub, tmp_path)
        assert again.merge(CAPTIONS, "beagle") == Answer("A beagle outside.")
        assert stub.calls == 1
        again.merge(CAPTIONS[:1], "beagle")
        again.merge(CAPTIONS, "hound")
        LanguageModel("other", stub.url, cache=again.cache).merge(CAPTIONS, "beagle")
        assert stub.calls == 4


def test_the_request_holds_the_captions_and_is_repeatable(tmp_path):
    with serving(says("x")) as stub:
        opened(stub, tmp_path).merge(CAPTIONS, "beagle")
        asked, headers = stub.requests[0], stub.headers[0]
        assert (asked["model"], asked["temperature"]) == ("m", 0)
        assert [message["role"] for message in asked["messages"]] == ["system", "user"]
        assert "1. A beagle runs\n2. A beagle sits" in asked["messages"][1]["content"]
        assert 'Say "beagle"' in asked["messages"][1]["content"]
        assert headers["authorization"] == f"Bearer {SECRET}"


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (says(None, refusal="I can't help"), "the model refused"),
        (says("half a sen", finish="content_filter"), "the model's content filter stopped it"),
        (fails(400, "content_filter"), "the model's content filter stopped it"),
    ],
)
def test_a_refusal_is_an_answer_and_is_kept_too(tmp_path, reply, reason: str):
    with serving(reply) as stub:
        assert opened(stub, tmp_path).merge(CAPTIONS, "beagle") == Answer("", reason)
        assert opened(stub, tmp_path).merge(CAPTIONS, "beagle") == Answer("", reason)
        assert stub.calls == 1


@pytest.mark.parametrize("text", ["", " \n", None])
def test_an_empty_answer_is_asked_for_again_by_the_next_run(tmp_path, text: str | None):
    with serving(says(text), says("A beagle.")) as stub:
        model = opened(stub, tmp_path)
        assert model.merge(CAPTIONS, "beagle") == Answer("", "the model gave an empty answer")
        assert model.merge(CAPTIONS, "beagle").refused and stub.calls == 1
        assert opened(stub, tmp_path).merge(CAPTIONS, "beagle") == Answer("A beagle.")


@pytest.mark.parametrize(
    ("status", "hint"), [(401, "variable TEXT_KEY"), (403, "variable TEXT_KEY"), (404, "the model 'm' (llm_model)")]
)
def test_a_wrong_key_or_model_is_named(tmp_path, status: int, hint: str):
    with serving(fails(status)) as stub, pytest.raises(SettingsError) as failed:
        opened(stub, tmp_path).merge(CAPTIONS, "beagle")
    assert hint in str(failed.value).split("\n")[1]


def test_an_empty_refusal_is_none(tmp_path):
    with serving(says("A beagle.", refusal="")) as stub:
        assert opened(stub, tmp_path).merge(CAPTIONS, "beagle") == Answer("A beagle.")


def test_a_long_answer_comes_whole(tmp_path):
    long = " ".join(["beagle"] * 997)
    with serving(says(long, finish="length")) as stub:
        assert opened(stub, tmp_path).merge(CAPTIONS, "beagle") == Answer(long)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_passing_failure_is_tried_again(tmp_path, status: int):
    with serving(fails(status), fails(status), fails(status), says("A beagle.")) as stub:
        assert opened(stub, tmp_path).merge(CAPTIONS, "beagle") == Answer("A beagle.")
        assert stub.calls == 4


def test_a_lasting_failure_says_what_is_kept(tmp_path):
    with serving(says("A beagle."), fails(500)) as stub:
        model = opened(stub, tmp_path)
        model.merge(CAPTIONS, "beagle")
        with pytest.raises(SettingsError) as failed:
            model.merge(CAPTIONS, "hound")
        assert stub.calls == 5
        assert str(failed.value).split("\n") == [
            "The text writer at 127.0.0.1 answered with error 500 (4 tries).",
            f"Finished texts are kept in {model.cache}: run the same command again, or use --text-proto medoid.",
        ]
        stub.replies = (says("A hound."),)
        again = opened(stub, tmp_path)
        assert [again.merge(CAPTIONS, name).text for name in ("beagle", "hound")] == ["A beagle.", "A hound."]
        assert stub.calls == 6


def test_a_server_that_hangs_is_waited_for_four_times(tmp_path):
    with serving(hangs()) as stub:
        with pytest.raises(SettingsError, match=r"gave no answer within 0.05 seconds \(4 tries\)"):
            opened(stub, tmp_path, timeout=0.05).merge(CAPTIONS, "beagle")
        assert stub.calls == 4


def test_a_server_that_is_gone_is_one_sentence(tmp_path):
    with serving() as stub:
        pass
    with pytest.raises(SettingsError, match=r"text writer at 127.0.0.1 can't be reached \(4 tries\)"):
        opened(stub, tmp_path).merge(CAPTIONS, "beagle")


@pytest.mark.parametrize("status", [400, 401, 404])
def test_a_wrong_request_is_not_repeated(tmp_path, status: int):
    with serving(fails(status)) as stub:
        with pytest.raises(SettingsError, match=rf"answered with error {status} \(1 try\)"):
            opened(stub, tmp_path).merge(CAPTIONS, "beagle")
        assert stub.calls == 1


@pytest.mark.parametrize(
    "body", ["<html>", '"text"', "{}", '{"choices": []}', '{"choices": null}', "[1]", '{"choices": 5}']
)
def test_an_answer_in_another_language_is_refused_and_not_kept(tmp_path, body: str):
    with serving(raw(body)) as stub:
        with pytest.raises(SettingsError, match="answered with something that is no chat completion"):
            opened(stub, tmp_path).merge(CAPTIONS, "beagle")
        assert not (tmp_path / "cache.jsonl").exists()


def test_captions_are_not_passed_on_to_another_host(tmp_path):
    with serving(raw("", status=307)) as stub:
        with pytest.raises(SettingsError, match="answered with error 307"):
            opened(stub, tmp_path).merge(CAPTIONS, "beagle")
        assert stub.calls == 1


def test_captions_leave_this_machine_only_when_that_is_allowed(tmp_path, monkeypatch):
    url = "https://user:password@api.example.com/v1"
    with pytest.raises(SettingsError) as refused:
        LanguageModel("m", url, cache=tmp_path / "c", key_variable="TEXT_KEY")
    assert str(refused.value) == (
        "Sending captions to api.example.com: pass --allow-remote-text to confirm that they may leave this machine."
    )
    LanguageModel("m", url, cache=tmp_path / "c", key_variable="TEXT_KEY", allow_remote=True)
    monkeypatch.delenv("TEXT_KEY")
    with pytest.raises(SettingsError) as refused:
        LanguageModel("m", url, cache=tmp_path / "c", key_variable="TEXT_KEY", allow_remote=True)
    assert str(refused.value) == (
        "No key for the text writer: set the environment variable TEXT_KEY, or use --text-proto medoid."
    )


@pytest.mark.parametrize("host", ["localhost:1", "127.0.0.1", "127.9.9.9:80", "[::1]:11434"])
def test_this_machine_needs_neither_leave_nor_key(tmp_path, monkeypatch, host: str):
    monkeypatch.delenv("TEXT_KEY")
    LanguageModel("m", f"http://{host}/v1", cache=tmp_path / "c", key_variable="TEXT_KEY")


@pytest.mark.parametrize("host", ["127.0.0.1.example.com", "localhost.example.com", "10.0.0.1", "0.0.0.0", "127.1"])
def test_what_only_looks_like_this_machine_is_remote(tmp_path, host: str):
    with pytest.raises(SettingsError, match="pass --allow-remote-text"):
        LanguageModel("m", f"http://{host}/v1", cache=tmp_path / "c", key_variable="TEXT_KEY")


@pytest.mark.parametrize("url", ["", "localhost:11434", "ftp://localhost/v1", "http://", "http://[::1/v1"])
def test_what_is_no_address_is_refused(tmp_path, url: str):
    with pytest.raises(SettingsError, match="is no address of a text writer"):
        LanguageModel("m", url, cache=tmp_path / "c")


def test_the_key_is_neither_kept_nor_told(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    with serving(says("A beagle."), fails(401)) as stub:
        model = opened(stub, tmp_path)
        model.merge(CAPTIONS, "beagle")
        with pytest.raises(SettingsError) as failed:
            model.merge(CAPTIONS, "hound")
        assert SECRET not in model.cache.read_text() + str(failed.value) + caplog.text


def test_a_proxy_is_no_way_to_this_machine(tmp_path, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with serving(says("A beagle.")) as stub:
        assert opened(stub, tmp_path).merge(CAPTIONS, "beagle") == Answer("A beagle.")


def test_a_line_that_a_kill_has_cut_is_asked_for_again(tmp_path):
    with serving(says("one"), says("two"), says("three")) as stub:
        model = opened(stub, tmp_path)
        model.merge(CAPTIONS, "beagle")
        model.merge(CAPTIONS, "hound")
        model.cache.write_bytes(model.cache.read_bytes()[:-7])
        again = opened(stub, tmp_path)
        assert [again.merge(CAPTIONS, name).text for name in ("beagle", "hound")] == ["one", "three"]
        assert [json.loads(line)["text"] for line in model.cache.read_text().splitlines()] == ["one", "three"]


@pytest.mark.parametrize("line", ["{", "[]", '{"key": "k", "text": 3, "refused": null}', '{"key": "k", "text": "t"}'])
def test_a_damaged_line_is_named(tmp_path, line: str):
    (tmp_path / "cache.jsonl").write_text(f"{line}\n")
    with serving(says("x")) as stub, pytest.raises(FileError, match=r"Line 1 of .*cache.jsonl is damaged"):
        opened(stub, tmp_path)
