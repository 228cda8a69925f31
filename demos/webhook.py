"""Events to a URL as JSON, with retries, and never in the way of the audio.

    python demos/webhook.py --url http://localhost:8123/api/webhook/lcspeech

Without a URL it starts a server of its own, which prints what it gets and fails the first time.
"""

from __future__ import annotations

import contextlib
import dataclasses
import http.client
import json
import queue
import threading
import time
import urllib.request

import receiver
from hearing import arguments, hear

import lcspeech

WAITING = 100  # events at most; then the oldest is dropped
TRIES, FIRST_PAUSE_SECONDS, TIMEOUT_SECONDS = 6, 0.25, 5.0  # each pause is twice the one before


class Webhook:
    """Posts events one after the other in a thread of its own; `send` returns at once, whatever the network does."""

    def __init__(self, url: str, pause: float = FIRST_PAUSE_SECONDS, waiting: int = WAITING) -> None:
        self.url, self.pause = url, pause
        self.sent, self.lost = 0, 0
        self._queue: queue.Queue[lcspeech.Event | None] = queue.Queue(waiting)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def send(self, event: lcspeech.Event | None) -> None:
        while True:
            try:
                return self._queue.put_nowait(event)
            except queue.Full:  # the oldest makes room, unless it has just been taken
                with contextlib.suppress(queue.Empty):
                    self._queue.get_nowait()
                    self.lost += 1

    def close(self) -> None:
        """Wait until all is sent, or given up."""
        self.send(None)
        self._thread.join()

    def _run(self) -> None:
        while (event := self._queue.get()) is not None:
            for attempt in range(TRIES):
                try:
                    self._post(event)
                except (
                    OSError,
                    http.client.HTTPException,
                    ValueError,
                ) as error:  # also urllib's; the last of the address
                    print(f"          {event.keyword}: {error}, try {attempt + 1} of {TRIES}", flush=True)
                    if attempt + 1 < TRIES:
                        time.sleep(self.pause * 2**attempt)
                else:
                    self.sent += 1
                    break
            else:
                self.lost += 1

    def _post(self, event: lcspeech.Event) -> None:
        body = json.dumps(dataclasses.asdict(event)).encode()
        request = urllib.request.Request(self.url, body, {"Content-Type": "application/json"})
        urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS).close()


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--url", help="where events are posted to")
    args = parser.parse_args()
    if args.url is not None and not args.url.startswith(("http://", "https://")):
        parser.error(f"--url {args.url}: an address begins with http:// or https://")
    args.url = args.url or receiver.start()
    webhook = Webhook(args.url)
    spotter = lcspeech.Spotter.load()
    with hear(args.device, args.recording) as source, spotter.stream(source.sample_rate) as stream:
        for block in source.blocks:
            for event in stream.feed(block):
                webhook.send(event)
                print(f"{event.start:6.2f} s  {event.keyword}", flush=True)
    webhook.close()
    print(f"{webhook.sent} sent, {webhook.lost} lost")


if __name__ == "__main__":
    main()
