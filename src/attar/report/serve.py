"""The report over HTTP on this machine alone, for people whose browser is elsewhere than their files."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from attar.errors import SettingsError

_HERE = "127.0.0.1"


def serve(page: Path, *, port: int = 8000, ready: Callable[[str], None] = print) -> None:
    """Answer requests for `page` on 127.0.0.1 until Ctrl-C; `ready` is called with the address once it answers.

    Nothing but this file is served, read anew at each request, and only to requests that name this machine: a foreign
    page whose name was made to point here is refused. Port 0 takes any free one. SettingsError where the port is taken.
    """
    try:
        server = ThreadingHTTPServer((_HERE, port), _handler(page))
    except OSError as error:
        if error.errno not in (errno.EADDRINUSE, errno.EACCES):
            raise
        raise SettingsError(f"port {port} can't be used on this machine", "Choose another --port; 0 is any.") from error
    with server:
        ready(f"http://{_HERE}:{server.server_port}/")
        try:
            server.serve_forever(poll_interval=0.1)
        except KeyboardInterrupt:
            return


def _handler(page: Path) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            host = self.headers.get("Host", "").rpartition(":")[0] or self.headers.get("Host", "")
            if host not in (_HERE, "localhost"):
                return self.send_error(403, "Ask for 127.0.0.1")
            if self.path not in ("/", "/index.html"):
                return self.send_error(404)
            try:
                content = page.read_bytes()
            except OSError:
                return self.send_error(404)
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Cache-Control", "no-store")
            with contextlib.suppress(ConnectionError):  # of a tab that was closed while it loads
                self.end_headers()
                self.wfile.write(content)
            return None

        def log_message(self, format: str, *args: object) -> None:
            """Requests are nobody's news."""

    return Handler
