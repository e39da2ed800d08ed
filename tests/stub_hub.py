"""A Hugging Face hub on this machine: what push and load need of its protocol, with repositories in memory."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from unittest import mock
from urllib.parse import unquote, urlsplit

TOKEN = "hf_stubstubstubstub"

Files = dict[str, bytes]


class StubHub:
    """Datasets by name, each a list of (commit, files), the newest last; what was asked, and what fails on purpose."""

    def __init__(self) -> None:
        self.datasets: dict[str, list[tuple[str, Files]]] = {}
        self.private: dict[str, bool] = {}
        self.asked: list[tuple[str, str]] = []
        self.headers: list[dict[str, str]] = []
        self.messages: list[str] = []
        self.failures: dict[str, tuple[int, dict[str, str]]] = {}  # part of a path: status and headers
        self.large: dict[str, bytes] = {}  # by SHA-256, as large-file storage keeps them
        self.as_large: tuple[str, ...] = ()  # endings of the names that go there
        self.url = ""

    def put(self, name: str, files: Files) -> str:
        """Make a commit; its id."""
        history = self.datasets.setdefault(name, [])
        content = sorted((path, hashlib.sha256(data).hexdigest()) for path, data in files.items())
        commit = hashlib.sha1(repr((len(history), content)).encode()).hexdigest()
        history.append((commit, files))
        return commit

    def at(self, name: str, revision: str = "main") -> tuple[str, Files] | None:
        """A commit and its files; None where there is none of that name."""
        history = self.datasets.get(name, [])
        if revision == "main":
            return history[-1] if history else None
        return next((each for each in history if each[0] == revision), None)

    def create(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        name = f"{body['organization']}/{body['name']}"
        there = name in self.datasets
        if not there:
            self.put(name, {".gitattributes": b"*.png filter=lfs\n"})
            self.private[name] = body.get("visibility") == "private" or bool(body.get("private"))
        return 409 if there else 200, {"url": f"{self.url}/datasets/{name}", "name": name}

    def commit(self, name: str, lines: bytes) -> dict[str, Any]:
        """What an upload asks for, line by line."""
        files = dict(self.datasets[name][-1][1])
        for line in map(json.loads, lines.splitlines()):
            value = line["value"]
            match line["key"]:
                case "header":
                    self.messages.append(value["summary"])
                case "file":
                    files[value["path"]] = base64.b64decode(value["content"])
                case "lfsFile":
                    files[value["path"]] = self.large[value["oid"]]
                case "deletedFile":
                    del files[value["path"]]
        commit = self.put(name, files)
        return {"commitUrl": f"{self.url}/datasets/{name}/commit/{commit}", "commitOid": commit}


@contextlib.contextmanager
def serving_hub() -> Iterator[StubHub]:
    """The hub for as long as the block runs, with HF_ENDPOINT and HF_TOKEN set to it."""
    hub = StubHub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    hub.url = f"http://127.0.0.1:{server.server_port}"
    try:
        with mock.patch.dict(os.environ, {"HF_ENDPOINT": hub.url, "HF_TOKEN": TOKEN}):
            yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextlib.contextmanager
def stub_hub() -> Iterator[str]:
    """The address of `serving_hub`."""
    with serving_hub() as hub:
        yield hub.url


class _Handler(BaseHTTPRequestHandler):
    hub: StubHub
    protocol_version = "HTTP/1.1"

    def _serve(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body, path = self.rfile.read(length), unquote(urlsplit(self.path).path)
        self.hub.asked.append((self.command, path))
        self.hub.headers.append({name.lower(): value for name, value in self.headers.items()})
        for part, (status, headers) in self.hub.failures.items():
            if part in path:
                return self._send(status, b"{}", headers)
        return self._answer(path, body)

    do_GET = do_HEAD = do_POST = do_PUT = _serve  # noqa: N815

    def _answer(self, path: str, body: bytes) -> None:
        if path == "/api/repos/create":
            return self._json(*self.hub.create(json.loads(body)))
        if path == "/api/validate-yaml":
            return self._json(200, {"errors": [], "warnings": []})
        if found := re.fullmatch(r"/large/(\w+)", path):
            self.hub.large[found[1]] = body
            return self._send(200, b"")
        if found := re.fullmatch(r"/api/datasets/([^/]+/[^/]+)/preupload/main", path):
            return self._json(200, {"files": [self._mode(each) for each in json.loads(body)["files"]]})
        if found := re.fullmatch(r"/api/datasets/([^/]+/[^/]+)/commit/main", path):
            return self._json(200, self.hub.commit(found[1], body))
        if re.fullmatch(r"/datasets/[^/]+/[^/]+\.git/info/lfs/objects/batch", path):
            return self._json(200, {"objects": [self._place(each) for each in json.loads(body)["objects"]]})
        if found := re.fullmatch(r"/api/datasets/([^/]+/[^/]+)(?:/revision/([^/]+))?", path):
            return self._info(found[1], found[2] or "main")
        if found := re.fullmatch(r"/datasets/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            return self._file(*found.groups())
        return self._send(404, b"{}")

    def _mode(self, file: dict[str, Any]) -> dict[str, Any]:
        mode = "lfs" if file["path"].endswith(self.hub.as_large or "/") else "regular"
        return {"path": file["path"], "uploadMode": mode, "shouldIgnore": False}

    def _place(self, file: dict[str, Any]) -> dict[str, Any]:
        return file | {"actions": {"upload": {"href": f"{self.hub.url}/large/{file['oid']}"}}}

    def _info(self, name: str, revision: str) -> None:
        at = self.hub.at(name, revision)
        if at is None:
            missing = "RevisionNotFound" if name in self.hub.datasets else "RepoNotFound"
            return self._send(404, b"{}", {"X-Error-Code": missing})
        siblings = [{"rfilename": path, "size": len(data)} for path, data in at[1].items()]
        private = self.hub.private.get(name, False)
        return self._json(200, {"id": name, "sha": at[0], "private": private, "siblings": siblings})

    def _file(self, name: str, revision: str, path: str) -> None:
        at = self.hub.at(name, revision)
        if at is None or path not in at[1]:
            return self._send(404, b"", {"X-Error-Code": "EntryNotFound"})
        data = at[1][path]
        return self._send(200, data, {"ETag": f'"{hashlib.sha1(data).hexdigest()}"', "X-Repo-Commit": at[0]})

    def _json(self, status: int, content: dict[str, Any]) -> None:
        self._send(status, json.dumps(content).encode(), {"Content-Type": "application/json"})

    def _send(self, status: int, data: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        del format, args
