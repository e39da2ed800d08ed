"""Weights from the hub where there is none: at once, in one sentence, and with nothing before it."""

from __future__ import annotations

import http.server
import logging
import threading
import time

import pytest
from huggingface_hub import constants

from attar.backbones import backbone
from attar.backbones.hub import fetching
from attar.errors import BackboneError


@pytest.fixture
def nowhere(monkeypatch, tmp_path):
    """A hub that no one answers at, and an empty cache."""
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "hf:owner/some-vit"])
def test_without_a_network_weights_are_refused_at_once_and_in_silence(nowhere, capfd, caplog, name):
    started = time.monotonic()
    with pytest.raises(BackboneError, match=r"^can't download weights of .*\n.*--weights FILE\.$"):
        backbone(name)
    assert time.monotonic() - started < 15  # the client's own pauses take 23 s for each file
    assert capfd.readouterr() == ("", "") and not caplog.records
    assert not constants.HF_HUB_OFFLINE


def test_a_hub_that_answers_is_asked_and_its_client_is_silent(nowhere, monkeypatch, caplog):
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()  # answers every HEAD by 501
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        with fetching():
            assert not constants.HF_HUB_OFFLINE
            logging.getLogger("huggingface_hub.utils._http").warning("Retrying in 8s [Retry 5/5].")
        server.shutdown()
    assert not caplog.records


def test_what_the_user_set_stays(nowhere, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with fetching():
        assert constants.HF_HUB_OFFLINE
    assert constants.HF_HUB_OFFLINE
