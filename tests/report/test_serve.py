"""The page is served to this machine alone, and nothing else is."""

from __future__ import annotations

import http.client
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

import pytest

from attar.errors import SettingsError
from attar.report.serve import serve

_CHILD = """
import sys
from pathlib import Path
from attar.report.serve import serve
serve(Path(sys.argv[1]), port=0, ready=lambda address: print(address, flush=True))
"""


@contextmanager
def served(page: Path, told: IO[str] | None = None) -> Iterator[str]:
    """The host and port of a server in another process, which ends by Ctrl-C with code 0; what it complains of goes to
    `told`."""
    command = [sys.executable, "-c", _CHILD, page]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=told, text=True) as child:
        try:
            yield urlsplit(child.stdout.readline().strip()).netloc
            child.send_signal(signal.SIGINT)
            assert child.wait(10) == 0
        finally:
            child.kill()


def ask(place: str, path: str = "/", method: str = "GET", **headers: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(place, timeout=10)
    connection.request(method, path, headers=headers)
    answer = connection.getresponse()
    return answer.status, answer.read()


def test_the_page_and_nothing_else_is_served_until_ctrl_c(tmp_path):
    page = tmp_path / "index.html"
    page.write_text("<p>é")
    (tmp_path / "secret.txt").write_text("secret")
    with served(page) as place:
        assert place.startswith("127.0.0.1:")
        assert ask(place) == ask(place, "/index.html") == (200, "<p>é".encode())
        for path in ("/secret.txt", "/../secret.txt", "/?x", "/report"):
            assert ask(place, path)[0] == 404
        assert ask(place, method="POST")[0] == 501
        page.write_text("new")
        assert ask(place) == (200, b"new")
        page.unlink()
        assert ask(place)[0] == 404


def test_a_foreign_name_that_points_here_is_refused(tmp_path):
    page = tmp_path / "index.html"
    page.write_text("photos")
    with served(page) as place:
        port = place.rpartition(":")[2]
        assert ask(place, Host=f"localhost:{port}") == (200, b"photos")
        assert ask(place, Host="localhost") == (200, b"photos")
        for host in (f"evil.example:{port}", "evil.example", "127.0.0.1.evil.example:80", ""):
            status, content = ask(place, Host=host)
            assert status == 403 and b"photos" not in content


def test_a_port_that_is_taken_is_told(tmp_path):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(SettingsError, match="Choose another --port"):
            serve(tmp_path / "index.html", port=other.getsockname()[1])


def test_a_tab_that_is_closed_while_it_loads_is_nobodys_news(tmp_path):
    page = tmp_path / "index.html"
    page.write_bytes(b"x" * 30_000_000)
    with (tmp_path / "told").open("w+") as told, served(page, told) as place:
        host, _, port = place.rpartition(":")
        for _ in range(3):
            with socket.create_connection((host, int(port))) as tab:
                tab.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # closing resets
                tab.sendall(f"GET / HTTP/1.1\r\nHost: {place}\r\n\r\n".encode())
                tab.recv(1000)
        assert ask(place, "/nowhere")[0] == 404
        time.sleep(0.2)
        assert (tmp_path / "told").read_text() == ""
