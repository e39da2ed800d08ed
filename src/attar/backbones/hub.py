"""Published weights from the Hugging Face hub: without its client's log lines, and without its patience."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from attar.hush import silence


@contextlib.contextmanager
def fetching(wanted: bool = True) -> Iterator[None]:
    """What is loaded meanwhile, if `wanted`, comes from the hub, or at once from its cache where no hub is reached.

    Its client asks six times for each file, with growing pauses that no setting shortens: a minute for a network of
    timm, which has two names of files to try. Offline it looks into its cache alone.
    """
    with contextlib.ExitStack() as stack:
        if wanted:
            from huggingface_hub import constants

            stack.enter_context(silence())
            if not constants.HF_HUB_OFFLINE and not _is_there():
                constants.HF_HUB_OFFLINE = True
                stack.callback(setattr, constants, "HF_HUB_OFFLINE", False)
        yield


def _is_there() -> bool:
    """Whether the hub, or the mirror at HF_ENDPOINT, answers anything."""
    from huggingface_hub import constants
    from huggingface_hub.utils import get_session

    try:
        get_session().head(constants.ENDPOINT, timeout=constants.HF_HUB_ETAG_TIMEOUT)
    except Exception:  # of requests, httpx or httpx2, as the client's version has it
        return False
    return True
