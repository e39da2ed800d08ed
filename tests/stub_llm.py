"""A language model's server on this machine that answers by script, in the protocol of OpenAI's chat completions."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Reply = Callable[["StubModel"], tuple[int, str | None]]  # status and body; no body: no answer before the test ends


class StubModel:
    """What the server was asked, and what it replies: the replies in turn, the last one ever after."""

    def __init__(self, *replies: Reply):
        self.replies = replies
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.over = threading.Event()
        self.url = ""

    @property
    def calls(self) -> int:
        """How often it was asked."""
        return len(self.requests)

    def reply(self, headers: dict[str, str], body: bytes) -> tuple[int, str | None]:
        """Note a request and choose its answer."""
        self.headers.append(headers)
        self.requests.append(json.loads(body))
        return self.replies[min(self.calls, len(self.replies)) - 1](self)


def says(text: str | None, *, refusal: str | None = None, finish: str = "stop") -> Reply:
    """A chat completion."""
    message = {"role": "assistant", "content": text, "refusal": refusal}
    choices = [{"index": 0, "message": message, "finish_reason": finish}]
    body = {"id": "1", "object": "chat.completion", "created": 0, "model": "stub", "choices": choices}
    return lambda stub: (200, json.dumps(body))


def fails(status: int, code: str | None = None) -> Reply:
    """An error of the server's own."""
    return lambda stub: (status, json.dumps({"error": {"message": "it can't", "code": code}}))


def raw(body: str, status: int = 200) -> Reply:
    """Anything else."""
    return lambda stub: (status, body)


def hangs() -> Reply:
    """No answer as long as anyone waits."""
    return lambda stub: (200, None)


@contextlib.contextmanager
def serving(*replies: Reply) -> Iterator[StubModel]:
    """A server that gives these replies, for as long as the block runs."""
    stub = StubModel(*replies)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            status, body = stub.reply(
                {name.lower(): value for name, value in self.headers.items()}, self.rfile.read(length)
            )
            if body is None:
                stub.over.wait(10)
                return
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body.encode())))
            self.send_header("Location", "http://127.0.0.1:9/elsewhere")
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, format: str, *args: object) -> None:
            del format, args

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    stub.url = f"http://127.0.0.1:{server.server_port}/v1"
    try:
        yield stub
    finally:
        stub.over.set()
        server.shutdown()
        thread.join()
        server.server_close()
