"""huggingface_hub's client as attar uses it: silent, without telemetry, and with errors of one sentence."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Iterator
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from attar.errors import ArtefactError, AttarError
from attar.hush import silence

if TYPE_CHECKING:
    from huggingface_hub import HfApi

KIND = "dataset"
_LOGIN = "Run hf auth login (older: huggingface-cli login), or set HF_TOKEN"
_NETWORK = (ConnectionError, TimeoutError, socket.gaierror)
_STATUS = {
    401: ("the hub doesn't accept your login", f"{_LOGIN} anew."),
    403: ("your login may not change or read {name}", f"Give a name of your own, or {_LOGIN[0].lower()}{_LOGIN[1:]}."),
    404: (
        "the hub has no dataset {name}, or hides it from your login",
        f"Check the name. {_LOGIN} where it is private.",
    ),
    409: ("{name} was changed by someone else at the same time", "Give the command again."),
    412: ("{name} was changed by someone else at the same time", "Give the command again."),
    429: ("the hub has had enough requests from here for now", "Wait some minutes, and give the command again."),
}


@contextlib.contextmanager
def client(name: str, token: str | None = None, *, revision: str = "", must_login: bool = False) -> Iterator[HfApi]:
    """The hub's client for what is done with the dataset `name`; where that fails it is told by ArtefactError.

    Tokens are huggingface_hub's own, from its login or HF_TOKEN, unless one is given; with `must_login` there has to
    be one. No message holds it. The hub is the one at HF_ENDPOINT, as that is set now.
    """
    from huggingface_hub import HfApi, get_token
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    # requests or httpx, whichever it is built on, is known by what its own errors descend from
    failures = (OSError, json.JSONDecodeError, HFValidationError, UnicodeError, *HfHubHTTPError.__bases__)
    api = HfApi(endpoint=_endpoint(), token=token)
    try:
        with _silence():
            if must_login and (token or get_token()) is None:
                raise ArtefactError("you aren't logged in to the hub", f"{_LOGIN} to a token that may write.")
            yield api
    except Exception as error:
        failure = next((each for each in _causes(error) if isinstance(each, failures)), None)
        if failure is None or isinstance(error, AttarError):
            raise
        raise _refusal(failure, name, revision, api.endpoint) from None  # their text may quote what was sent


def _endpoint() -> str | None:
    """HF_ENDPOINT, where it is set; ArtefactError where it is no address."""
    address = os.environ.get("HF_ENDPOINT", "").rstrip("/") or None
    try:
        parts = urlsplit(address or "https://huggingface.co")
    except ValueError:
        parts = None
    if parts is None or not parts.scheme or not parts.netloc:
        raise ArtefactError(f"HF_ENDPOINT is {address!r}, which is no address", "Unset it, or write https://HOST.")
    return address


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error and what it was raised from, and so on: the client raises RuntimeError from a failed upload."""
    while error is not None:
        yield error
        error = error.__cause__


def _refusal(error: BaseException, name: str, revision: str, endpoint: str) -> ArtefactError:
    """What an error of the client means to someone who typed `name`."""
    from huggingface_hub.errors import OfflineModeIsEnabled, RepositoryNotFoundError, RevisionNotFoundError

    if isinstance(error, RevisionNotFoundError):
        return ArtefactError(f"{name} has no revision {revision or 'main'}", "Give a branch, a tag or a whole commit.")
    if isinstance(error, OfflineModeIsEnabled):
        return ArtefactError(
            f"{name} isn't on this machine, and HF_HUB_OFFLINE is set", "Unset it, where there is a network."
        )
    if isinstance(error, ValueError) and not isinstance(error, OSError | json.JSONDecodeError):
        return ArtefactError(f"the hub takes no name like {name}, or no token like yours", "Check both for odd signs.")
    response = getattr(error, "response", None)
    status = 404 if isinstance(error, RepositoryNotFoundError) else getattr(response, "status_code", None)
    if status in _STATUS:
        message, hint = _STATUS[status]
        return ArtefactError(message.format(name=name), hint)
    if status is not None:
        return ArtefactError(f"the hub at {endpoint} failed with status {status}", "Try again later.")
    if isinstance(error, OSError) and error.strerror and not isinstance(error, _NETWORK):
        return ArtefactError(
            f"can't read or keep files of {name} here: {error.strerror}", "Check the disk, and ATTAR_CACHE."
        )
    return ArtefactError(
        f"can't reach the hub at {endpoint}: {type(error).__name__}", "Check the network; folders work without it."
    )


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """No bars, log lines or warnings of the client, and nothing of this machine in what it sends."""
    from huggingface_hub import constants, utils

    with contextlib.ExitStack() as stack:
        if not utils.are_progress_bars_disabled():
            utils.disable_progress_bars()
            stack.callback(utils.enable_progress_bars)
        stack.callback(setattr, constants, "HF_HUB_DISABLE_TELEMETRY", constants.HF_HUB_DISABLE_TELEMETRY)
        constants.HF_HUB_DISABLE_TELEMETRY = True
        stack.enter_context(silence())
        yield
