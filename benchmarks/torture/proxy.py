"""A proxy in front of a store, which delays, refuses or loses what passes through it."""

import contextlib
import random
import socket
import threading
import time

PIECE = 1 << 16
LONGEST_DELAY_SECONDS = 3.0
REFUSAL = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/xml\r\nConnection: close\r\n"
    b"Content-Length: %d\r\n\r\n%s"
)
REASON = (
    b'<?xml version="1.0" encoding="UTF-8"?><Error><Code>SlowDown</Code>'
    b"<Message>Please reduce your request rate.</Message></Error>"
)
# slow: every piece of data waits. refusing: every request gets 503. deaf: connections are closed at
# once. losing: requests arrive, but the connection is closed before half of the answers.
MODES = ("well", "slow", "refusing", "deaf", "losing")


class Proxy:
    """Listens on a free port of the loopback address until ``close``.

    Attributes:
        mode: one of ``MODES``; applies to new connections and to new data of open ones.
    """

    def __init__(self, port: int, seed: int = 0) -> None:
        self.mode = "well"
        self._to = ("127.0.0.1", port)
        self._draw = random.Random(seed)
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listening.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                client = self._listening.accept()[0]
                threading.Thread(target=self._serve, args=[client], daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            if self.mode == "deaf":
                return
            if self.mode == "refusing":
                client.recv(PIECE)
                client.sendall(REFUSAL % (len(REASON), REASON))
                return
            with socket.create_connection(self._to, timeout=30) as server:
                answers = threading.Thread(target=self._pass, args=[server, client], daemon=True)
                answers.start()
                self._pass(client, server)
                answers.join()

    def _pass(self, source: socket.socket, target: socket.socket) -> None:
        """Pass on data in one direction until one side closes or the mode says so."""
        answers = source.getpeername() == self._to
        with contextlib.suppress(OSError):
            while piece := source.recv(PIECE):
                mode = self.mode
                if mode == "slow":
                    time.sleep(self._draw.uniform(0, LONGEST_DELAY_SECONDS))
                lost = mode == "losing" and answers and self._draw.random() < 0.5
                if mode in ("deaf", "refusing") or lost:
                    break
                target.sendall(piece)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
