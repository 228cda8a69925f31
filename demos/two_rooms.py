"""Two microphones, one model: the spotter is shared, and each room has a thread and a stream of its own.

    python demos/two_rooms.py --kitchen "USB" --bedroom "Webcam"

A room without a microphone hears a bundled recording.
"""

from __future__ import annotations

import argparse
import contextlib
import queue
import threading

from hearing import COMMANDS, DIALOGUE, Source, hear

import lcspeech

ROOMS = {"kitchen": DIALOGUE, "bedroom": COMMANDS}

Heard = queue.Queue[tuple[str, lcspeech.Event | None]]


def listen(room: str, spotter: lcspeech.Spotter, source: Source, heard: Heard) -> None:
    """Put a room's events into the queue, and None at its end."""
    with spotter.stream(source.sample_rate) as stream:
        for block in source.blocks:
            for event in stream.feed(block):
                heard.put((room, event))
        for event in stream.flush():
            heard.put((room, event))
    heard.put((room, None))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for room in ROOMS:
        parser.add_argument(f"--{room}", metavar="DEVICE", help="a microphone, by its number or a part of its name")
    devices = vars(parser.parse_args())
    spotter, heard, threads = lcspeech.Spotter.load(), Heard(), list[threading.Thread]()
    with contextlib.ExitStack() as sources:
        for room, recording in ROOMS.items():
            source = sources.enter_context(hear(devices[room], None if devices[room] else recording))
            threads.append(threading.Thread(target=listen, args=(room, spotter, source, heard), daemon=True))
        for thread in threads:
            thread.start()
        listening = len(ROOMS)
        while listening:
            room, event = heard.get()
            if event is None:
                listening -= 1
                print(f"          {room:<8} has ended", flush=True)
            else:
                print(f"{event.start:6.2f} s  {room:<8} {event.keyword:<6} {event.score:.2f}", flush=True)
    for thread in threads:  # their microphones are closed
        thread.join()


if __name__ == "__main__":
    main()
