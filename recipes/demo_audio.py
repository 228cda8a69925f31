"""Put together the recordings of the demos: validation clips over background noise, with their truth.

    python recipes/demo_audio.py --data-dir speech_commands
    python recipes/demo_audio.py --data-dir speech_commands --output demos/audio/dialogue.flac --snr-db 40 --seed 1 \\
        --dialogue up "zero up" "zero right" stop

The first has words at random times, the second wake words with a command soon after, and words that are said to nobody.
Clips are drawn by a seed. That of commands.flac is the first, not one by how well a model does on it; that of
dialogue.flac is one whose words the first model heard, as it shows what to do with events, not how many come.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from lcspeech.audio import read_blocks
from lcspeech.errors import LcspeechError
from lcspeech.evaluation.datasets import find_clips
from lcspeech.evaluation.levels import voiced

RATE = 16_000
KEYWORDS = ("yes", "no", "up", "down", "left", "right", "go", "zero", "one", "five", "eight")
OTHERS = ("happy", "bed", "cat")  # words that are no keywords, and must not be taken for one
NOISE = ("doing_the_dishes", "exercise_bike")


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, required=True, help="Speech Commands: one folder of clips a word")
    parser.add_argument("--output", type=Path, default=Path("demos/audio/commands.flac"), help="default: %(default)s")
    parser.add_argument("--dialogue", nargs="+", metavar="WORDS", help="what is said in one go (default: random words)")
    parser.add_argument("--seed", type=int, default=1, help="default: %(default)s")
    parser.add_argument("--snr-db", type=float, default=15.0, help="of the words over the noise (default: %(default)s)")
    return parser.parse_args(argv)


def read(path: Path) -> NDArray[np.float32]:
    return np.concatenate(list(read_blocks(path, RATE)))


def script(dialogue: list[str] | None, random: np.random.Generator) -> list[tuple[str, float, float]]:
    """Words, each with the least and the most seconds of pause before it; clips have pauses of their own."""
    if dialogue is None:
        words = [*KEYWORDS, *KEYWORDS, *OTHERS]
        random.shuffle(words)
        return [(word, 0.8, 1.8) for word in words]
    first, next_one = (1.2, 1.8), (0.3, 0.6)
    return [(word, *(next_one if place else first)) for said in dialogue for place, word in enumerate(said.split())]


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    random = np.random.default_rng(args.seed)
    try:
        clips = find_clips(args.data_dir, "validation")
    except LcspeechError as error:
        print(f"demo_audio: error: {error}", file=sys.stderr)
        return 1
    parts, events, position = [], [], 0
    for word, shortest, longest in script(args.dialogue, random):
        path = random.choice(np.array([path for path in clips if path.parent.name == word]))
        clip = read(path)
        bounds = voiced(clip, RATE)
        clip *= 0.1 / np.sqrt(np.mean(clip[slice(*(int(seconds * RATE) for seconds in bounds))] ** 2))
        position += (gap := int(random.uniform(shortest, longest) * RATE))
        start, end = (round(position / RATE + seconds, 3) for seconds in bounds)
        kind = "other" if word in OTHERS else "keyword"
        events.append({kind: word, "start": start, "end": end, "clip": f"{word}/{path.name}"})
        parts += [np.zeros(gap, np.float32), clip]
        position += len(clip)
    speech = np.concatenate([*parts, np.zeros(RATE, np.float32)])
    noises = [read(next((args.data_dir / "_background_noise_").glob(f"{name}.*"))) for name in NOISE]
    noise = np.resize(np.concatenate([n[: len(speech) // len(noises) + 1] for n in noises]), len(speech))
    noise *= 0.1 / 10 ** (args.snr_db / 20) / np.sqrt(np.mean(noise**2))
    mixed = speech + noise
    soundfile.write(args.output, mixed / max(1.0, float(np.abs(mixed).max())), RATE, subtype="PCM_16")
    truth = {"audio": args.output.name, "snr_db": args.snr_db, "noise": list(NOISE), "events": events}
    args.output.with_suffix(".json").write_text(json.dumps(truth, indent=1) + "\n")
    print(f"{args.output}: {len(mixed) / RATE:.1f} s, {len(events)} words")
    return 0


if __name__ == "__main__":
    sys.exit(main())
