"""A server for the webhook demo: it prints what is posted to it, and fails the first time."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer


class Receiver(BaseHTTPRequestHandler):
    """Answers 503 once, then 200."""

    failed = False

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        works, Receiver.failed = Receiver.failed, True
        if works:  # said before the answer: after the last one the program ends
            print("received ", body.decode(), flush=True)
        self.send_response(200 if works else 503)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing else."""


def start() -> str:
    """Serve in a thread, until the program ends; returns the URL."""
    server = HTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}/"
