"""A small server that answers huggingface_hub as Hugging Face does: repositories, commits, files, lists."""

import base64
import contextlib
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import pytest
import yaml


class Hub(ThreadingHTTPServer):
    """The repositories: the content of each file by its name, by the name of the repository."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.created: list[dict] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def answer(self, content: object, *, code: int = 200, headers: dict[str, str] | None = None) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(code)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length) if length else self.read_chunks()
        path = urlsplit(self.path).path
        if path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked['organization']}/{asked['name']}"
            self.server.created.append(asked)
            self.server.repositories.setdefault(name, {})
            self.answer({"url": f"{self.server.url}/{name}"})
        elif path == "/api/validate-yaml":
            yaml.safe_load(json.loads(body)["content"].split("---")[1])
            self.answer({"errors": [], "warnings": []})
        elif path.endswith("/preupload/main"):
            modes = [{"path": file["path"], "uploadMode": "regular"} for file in json.loads(body)["files"]]
            self.answer({"files": [{**mode, "shouldIgnore": False} for mode in modes]})
        elif found := re.fullmatch("/api/models/(.+)/commit/main", path):
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    content = base64.b64decode(line["value"]["content"])
                    self.server.repositories[found[1]][line["value"]["path"]] = content
            self.answer({"commitOid": self.commit(found[1]), "commitUrl": f"{self.server.url}/{found[1]}/commit/0"})
        else:
            self.answer({"error": path}, code=404)

    def read_chunks(self) -> bytes:
        parts = []
        while self.headers.get("Transfer-Encoding") == "chunked" and (size := int(self.rfile.readline(), 16)):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        return b"".join(parts)

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        if path == "/api/models":
            self.answer([self.listed(name) for name in self.server.repositories])
        elif found := re.fullmatch("/api/models/(.+?)(/revision/.*|/tree/.*)?", path):
            if found[1] not in self.server.repositories:
                self.answer({"error": "Repository not found"}, code=404, headers={"X-Error-Code": "RepoNotFound"})
            elif (found[2] or "").startswith("/tree/"):
                files = self.server.repositories[found[1]].items()
                self.answer(
                    [{"type": "file", "path": name, "size": len(data), "oid": etag(data)} for name, data in files]
                )
            else:
                self.answer(self.listed(found[1]))
        elif (found := re.fullmatch("/(.+/.+)/resolve/[^/]+/(.+)", path)) is None:
            self.answer({"error": path}, code=404)
        else:
            data = self.server.repositories[found[1]][found[2]]
            self.answer(data, headers={"ETag": f'"{etag(data)}"', "X-Repo-Commit": self.commit(found[1])})

    do_HEAD = do_GET

    def commit(self, name: str) -> str:
        return etag(b"".join(self.server.repositories[name].values()))

    def listed(self, name: str) -> dict:
        files = self.server.repositories[name]
        card = yaml.safe_load(files["README.md"].split(b"---\n")[1]) if "README.md" in files else {}
        siblings = [{"rfilename": file} for file in files]
        return {
            "id": name,
            "sha": self.commit(name),
            "siblings": siblings,
            "tags": card.get("tags", []),
            "cardData": card,
        }


def etag(data: bytes) -> str:
    return hashlib.sha1(data).hexdigest()


@contextlib.contextmanager
def serving(monkeypatch: pytest.MonkeyPatch, cache: str) -> Iterator[Hub]:
    """Let huggingface_hub take this server for Hugging Face, with an empty cache."""
    constants = pytest.importorskip("huggingface_hub.constants", reason="the extra `hub` is not installed")
    hub = Hub()
    thread = threading.Thread(target=hub.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.url + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", cache)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_PROGRESS_BARS", True)
    try:
        yield hub
    finally:
        hub.shutdown()
        thread.join()
        hub.server_close()
