"""A stand-in for the Hugging Face hub, on the loopback address."""

import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Hub(http.server.BaseHTTPRequestHandler):
    """Handles the upload of small files as the hub does."""

    made: dict[str, bytes]
    token = "Bearer hf_right"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.headers["Authorization"] != self.token:
            self.answer(401, {"error": "Invalid username or password."})
        elif self.path == "/api/validate-yaml":
            self.made["front matter"] = json.loads(body)["content"].encode()
            self.answer(200, {"warnings": [], "errors": []})
        elif self.path == "/api/repos/create":
            self.answer(200, {"url": f"{self.base}/me/{json.loads(body)['name']}"})
        elif "/preupload/" in self.path:
            files = [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False}
                     for f in json.loads(body)["files"]]  # fmt: skip
            self.answer(200, {"files": files})
        elif "/commit/" in self.path:
            import base64

            for each in map(json.loads, body.splitlines()):
                if each["key"] == "file":
                    content = base64.b64decode(each["value"]["content"])
                    self.made[each["value"]["path"]] = content
            self.answer(200, {"commitUrl": f"{self.base}/me/x/commit/1", "commitOid": "1"})
        else:
            self.answer(404, {"error": self.path})

    def do_GET(self) -> None:
        self.answer(404, {"error": self.path})

    @property
    def base(self) -> str:
        return f"http://{self.headers['Host']}"

    def answer(self, status: int, content: object) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        """Log nothing."""


@contextmanager
def served() -> Iterator[tuple[str, dict[str, bytes]]]:
    """Serve the hub; yield its address and the uploaded files."""
    made: dict[str, bytes] = {}
    handler = type("Handler", (Hub,), {"made": made})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", made
        server.shutdown()
        thread.join()
