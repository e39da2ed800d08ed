"""A language model that merges captions, over the protocol of OpenAI's chat completions; each answer is kept in a file.

An answer is data: it is asked for once, and a second run with the same captions sends nothing.
"""

from __future__ import annotations

import hashlib
import ipaddress
import itertools
import json
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, final
from urllib.parse import urlsplit

from attar.diffusion.edits.files import drop_cut_line
from attar.diffusion.stock import library
from attar.errors import FileError, SettingsError
from attar.files import append_line, make_folder, sync

_RETRIES = 3
_WAIT = 1.0  # seconds before the first retry; they double
_EMPTY = "the model gave an empty answer"
_FILTERED = "the model's content filter stopped it"
_TRANSIENT = (408, 409, 429)  # beside the errors of the server's own, from 500

_SYSTEM = (
    "You write short prompts for a text-to-image model. You use what the captions say and invent nothing. "
    "You keep to the length that is asked for."
)
_TASK = """\
Here are {count} captions of similar photos of a {name}.

{captions}

Write one text of at most 50 words that stands for all these photos.
- Say "{name}" in exactly these words.
- Keep what concerns the {name}; leave out the rest.
- What several captions share, say once and in general terms.
- A detail of a single caption may stay where it goes with the others.
- Write fluent English, and answer with the text only."""


@dataclass(frozen=True)
class Answer:
    """What the model wrote, or why it wrote nothing."""

    text: str
    refused: str | None = None


@final
class LanguageModel:
    """A model of a server that speaks OpenAI's protocol, and the file of its answers.

    `url` is the server's base ("https://api.deepseek.com/v1"), `key_variable` the environment variable that holds its
    key; a server on this machine needs none. `cache` is a file of JSON lines by the SHA-256 of model and messages.
    `timeout` counts seconds, for each try. SettingsError where captions would leave this machine and `allow_remote` is
    not set, and where the variable is empty.
    """

    def __init__(
        self,
        model: str,
        url: str,
        *,
        cache: Path,
        key_variable: str = "OPENAI_API_KEY",
        allow_remote: bool = False,
        timeout: float = 60.0,
    ):
        self.model = model
        self.url = url
        self.key_variable = key_variable
        self.cache = cache
        self.timeout = timeout
        self._host, self._is_local = _host(url)
        if not (self._is_local or allow_remote):
            raise SettingsError(
                f"sending captions to {self._host}: pass --allow-remote-text to confirm that they may leave this "
                "machine"
            )
        self._key = os.environ.get(key_variable) or ("none" if self._is_local else "")
        if not self._key:
            raise SettingsError(
                f"no key for the text writer: set the environment variable {key_variable}, or use --text-proto medoid"
            )
        self._answers = _read_cache(cache)

    def merge(self, captions: Sequence[str], name: str) -> Answer:
        """One text for captions of photos of a `name`, from the file or from the server.

        A refusal is an answer, kept too; an empty answer is asked for again by the next run. SettingsError where the
        server can't be reached, doesn't answer in time after 3 more tries, or rejects the request.
        """
        listed = "\n".join(f"{number}. {caption}" for number, caption in enumerate(captions, start=1))
        task = _TASK.format(count=len(captions), name=name, captions=listed)
        messages = [{"role": "system", "content": _SYSTEM}, {"role": "user", "content": task}]
        key = hashlib.sha256(json.dumps([self.model, messages]).encode()).hexdigest()
        if key not in self._answers:
            answer = self._ask(messages)
            self._answers[key] = answer
            if answer.refused != _EMPTY:
                make_folder(self.cache.parent)
                append_line(self.cache, json.dumps({"key": key, "model": self.model, **asdict(answer)}))
                sync(self.cache)
        return self._answers[key]

    def _ask(self, messages: Sequence[dict[str, str]]) -> Answer:
        openai = library("openai", "the text writer llm")
        # A confirmed host must not pass the captions on to another one, and a proxy is no way to this machine.
        http = openai.DefaultHttpxClient(follow_redirects=False, trust_env=not self._is_local)
        with openai.OpenAI(
            api_key=self._key, base_url=self.url, max_retries=0, timeout=self.timeout, http_client=http
        ) as client:
            for tries in itertools.count(1):
                try:
                    return self._try(client, messages)
                except openai.APIError as error:
                    if tries > _RETRIES or not _is_transient(error):
                        raise self._failed(_reason(error, self.timeout), tries, self._hint(error)) from error
                time.sleep(_WAIT * 2 ** (tries - 1))
        raise AssertionError  # the loop ends by itself

    def _try(self, client: Any, messages: Sequence[dict[str, str]]) -> Answer:
        openai = library("openai", "the text writer llm")
        try:
            asked = client.chat.completions.with_raw_response.create(model=self.model, messages=messages, temperature=0)
        except openai.BadRequestError as error:
            if error.code == "content_filter":
                return Answer("", _FILTERED)
            raise
        answer = _read_answer(asked.http_response.text)
        if answer is None:
            raise self._failed("answered with something that is no chat completion", 1)
        return answer

    def _failed(self, what: str, tries: int, hint: str | None = None) -> SettingsError:
        return SettingsError(
            f"the text writer at {self._host} {what} ({tries} {'try' if tries == 1 else 'tries'})",
            hint or f"Finished texts are kept in {self.cache}: run the same command again, or use --text-proto medoid.",
        )

    def _hint(self, error: Any) -> str | None:
        """What to mend where trying again is of no use."""
        status = getattr(error, "status_code", None)
        if status in (401, 403):
            return f"Check the key in the environment variable {self.key_variable}."
        if status == 404:
            return f"Check the model {self.model!r} (llm_model) and the path of the address (llm_url)."
        return None


def _host(url: str) -> tuple[str, bool]:
    """(host of a URL, whether it is this machine)."""
    try:
        parts = urlsplit(url)
    except ValueError:
        parts = urlsplit("")
    host = parts.hostname
    if parts.scheme not in ("http", "https") or not host:
        raise SettingsError(f"{url!r} is no address of a text writer", "It looks like http://localhost:11434/v1.")
    try:
        return host, ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host, host == "localhost"


def _read_answer(body: str) -> Answer | None:
    """What a chat completion says; None for anything else."""
    try:
        made = json.loads(body)
    except (ValueError, RecursionError):
        return None
    match made:
        case {"choices": [{"message": {"refusal": str(refusal)}}, *_]} if refusal:
            return Answer("", "the model refused")
        case {"choices": [{"finish_reason": "content_filter"}, *_]}:
            return Answer("", _FILTERED)
        case {"choices": [{"message": {"content": str(text)}}, *_]} if text.strip():
            return Answer(text.strip())
        case {"choices": [{"message": {"content": str() | None}}, *_]}:
            return Answer("", _EMPTY)
    return None


def _is_transient(error: Any) -> bool:
    status = getattr(error, "status_code", None)
    return status is None or status in _TRANSIENT or status >= 500


def _reason(error: Any, timeout: float) -> str:
    openai = library("openai", "the text writer llm")
    if isinstance(error, openai.APITimeoutError):
        return f"gave no answer within {timeout:g} seconds"
    if isinstance(error, openai.APIStatusError):
        return f"answered with error {error.status_code}"
    return "can't be reached"


def _read_cache(file: Path) -> dict[str, Answer]:
    """The answers of earlier runs, but for a last line that a kill has cut."""
    lines = drop_cut_line(file).split("\n")[:-1]
    parsed = (_parse(line, f"line {number} of {file}") for number, line in enumerate(lines, start=1))
    return {key: answer for key, answer in parsed if answer.refused != _EMPTY}


def _parse(line: str, place: str) -> tuple[str, Answer]:
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        entry = None
    match entry:
        case {"key": str(key), "text": str(text), "refused": None | str() as refused}:
            return key, Answer(text, refused)
    raise FileError(f"{place} is damaged", "Remove that line: its text is asked for again.")
