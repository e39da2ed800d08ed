"""Silence for the time of a call: diffusers, transformers and the hub's client write to the terminal as they like."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from attar.hush import silence


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """No bars, no log lines and no warnings of diffusers, transformers and the hub's client."""
    from diffusers.utils import logging as of_diffusers
    from huggingface_hub import utils as hub
    from transformers.utils import logging as of_transformers

    with contextlib.ExitStack() as stack:
        for switch in (of_diffusers, of_transformers):
            if switch.is_progress_bar_enabled():
                switch.disable_progress_bar()
                stack.callback(switch.enable_progress_bar)
        if not hub.are_progress_bars_disabled():
            hub.disable_progress_bars()
            stack.callback(hub.enable_progress_bars)
        stack.enter_context(silence())
        yield
