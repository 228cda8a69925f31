"""A car assistant at 5 dB of road noise: a wake word, then a command, and a log of events as lines of JSON.

In a noisy cabin commands are heard with lower scores. They count only after the wake word, so they may be less sure
than it: their threshold is lower, and the wake word's stays as the model has it.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
from hearing import Block, arguments, hear

import lcspeech

WAKE = "zero"
ACTIONS = {
    "up": "warmer",
    "down": "cooler",
    "left": "seat heating left",
    "right": "seat heating right",
    "stop": "quiet",
}
COMMAND_THRESHOLD = 0.5
WITHIN_SECONDS = 5.0  # a driver may have to look at the road first
SPEECH_LEVEL = 0.1  # RMS of the words in the bundled recording


class Road:
    """Road noise: mostly rumble, its power falls by 6 dB an octave above 100 Hz."""

    def __init__(self, snr_db: float, rate: int, seconds: float = 10.0) -> None:
        frequencies = np.fft.rfftfreq(round(seconds * rate), 1 / rate)
        random = np.random.default_rng(0)
        spectrum = random.standard_normal(len(frequencies)) + 1j * random.standard_normal(len(frequencies))
        noise = np.fft.irfft(spectrum / np.maximum(frequencies, 100.0))
        level = SPEECH_LEVEL / 10 ** (snr_db / 20)
        self.noise = (noise * level / np.sqrt(np.mean(noise**2))).astype(np.float32)

    def add(self, block: Block) -> Block:
        self.noise = np.roll(self.noise, -len(block))
        noisy: Block = block + self.noise[: len(block)]
        return noisy


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--snr-db", type=float, default=5.0, help="of a recording over road noise (default: 5)")
    parser.add_argument("--log", type=Path, default=Path("car_events.jsonl"), help="default: %(default)s")
    args = parser.parse_args()
    try:
        log = args.log.open("a")
    except OSError as error:
        parser.error(f"--log {args.log}: {error.strerror}")
    spotter = lcspeech.Spotter.load()
    wakes = spotter.replace(keywords=[WAKE])
    commands = spotter.replace(keywords=list(ACTIONS), threshold=COMMAND_THRESHOLD)
    chain = lcspeech.Chain(WAKE, ACTIONS, WITHIN_SECONDS)
    with log, hear(args.device, args.recording) as source:
        streams = [half.stream(source.sample_rate) for half in (wakes, commands)]
        road = None if source.live else Road(args.snr_db, source.sample_rate)
        for block in source.blocks:
            cabin = block if road is None else road.add(block)
            for event in [event for stream in streams for event in stream.feed(cabin)]:
                if event.keyword == WAKE:
                    print(f"{event.start:6.2f} s  {event.keyword:<6} listening", flush=True)
                for command in chain.hear(event):
                    print(f"{event.start:6.2f} s  {event.keyword:<6} {ACTIONS[command.event.keyword]}", flush=True)
                    log.write(json.dumps(dataclasses.asdict(command)) + "\n")
                    log.flush()
    print(f"events are in {args.log}")


if __name__ == "__main__":
    main()
