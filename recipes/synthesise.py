"""Have flite's voices say words drawn from CMUdict, in LibriSpeech's layout: speech of words that no recording holds.

    python recipes/synthesise.py --output synthetic --without athena amelia
    python recipes/train_kws.py --librispeech-dir librispeech/train-clean-5 --synthetic-dir synthetic …

flite (Debian's package of that name) brings its voices. The same seed and flite make the same files.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import numpy as np
import soundfile
from rich.progress import track

from lcspeech.pronunciation import single

VOICES = ("awb", "rms", "slt", "kal16")  # those of 16 kHz
RATE = 16000
UTTERANCES_PER_CHAPTER = 100
WORDS, PHRASE = (4, 12), (1, 3)  # in an utterance; between pauses
STRETCH, PITCH = (0.75, 1.3), (80.0, 240.0)  # of durations; of the mean fundamental frequency in Hz
PAUSE_SECONDS = 0.3  # at both ends, at most


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="folder to make: voice/chapter/*.flac, *.trans.txt")
    parser.add_argument("--utterances", type=int, default=700, help="of each voice (default: %(default)s)")
    parser.add_argument("--without", nargs="*", default=[], help="words that are never said: those to test with")
    parser.add_argument("--seed", type=int, default=1, help="default: %(default)s")
    args = parser.parse_args(argv)
    if args.output.exists():
        parser.error(f"'{args.output}' exists already; name a folder to make")
    return args


def phrases(random: np.random.Generator, vocabulary: list[str]) -> Iterator[list[str]]:
    """Words that are said in one breath, until an utterance is full."""
    left = int(random.integers(*WORDS, endpoint=True))
    while left > 0:
        count = min(left, int(random.integers(*PHRASE, endpoint=True)))
        yield [str(word) for word in random.choice(vocabulary, count)]
        left -= count


def say(text: str, voice: str, stretch: float, pitch: float) -> np.ndarray:
    settings = ["--setf", f"duration_stretch={stretch:.3f}", "--setf", f"int_f0_target_mean={pitch:.1f}"]
    command = ["flite", "-voice", voice, *settings, "-t", text, "-o", "/dev/stdout"]
    wav = subprocess.run(command, capture_output=True, check=True).stdout
    samples, rate = soundfile.read(BytesIO(wav), dtype="float32")
    if rate != RATE:
        raise ValueError(f"flite's voice {voice} speaks at {rate} Hz instead of {RATE}; install a newer flite")
    return np.asarray(samples)


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    vocabulary = [word for word in single() if word not in args.without]
    partial = args.output.with_name(f"{args.output.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)  # of a run that was stopped

    def make(voice: str, number: int) -> tuple[Path, str]:
        random = np.random.default_rng([args.seed, VOICES.index(voice), number])
        said = list(phrases(random, vocabulary))
        text = ", ".join(" ".join(phrase) for phrase in said)
        samples = say(text, voice, random.uniform(*STRETCH), np.exp(random.uniform(*np.log(PITCH))))
        pauses = [np.zeros(int(seconds * RATE), np.float32) for seconds in random.uniform(0, PAUSE_SECONDS, 2)]
        chapter = number // UTTERANCES_PER_CHAPTER
        name = f"{voice}-{chapter}-{number:04}"
        spoken = text.replace(",", "").upper()
        folder = partial / voice / str(chapter)
        folder.mkdir(parents=True, exist_ok=True)
        soundfile.write(folder / f"{name}.flac", np.concatenate([pauses[0], samples, pauses[1]]), RATE)
        return folder / f"{voice}-{chapter}.trans.txt", f"{name} {spoken}\n"

    jobs = [(voice, number) for voice in VOICES for number in range(args.utterances)]
    try:
        with ThreadPoolExecutor() as pool:
            for transcript, line in track(pool.map(make, *zip(*jobs, strict=True)), "speaking", len(jobs)):
                with transcript.open("a") as file:
                    file.write(line)
    except FileNotFoundError:
        print("synthesise: error: no flite; install it (Debian: apt install flite)", file=sys.stderr)
        return 1
    except (subprocess.CalledProcessError, OSError, ValueError) as error:
        print(f"synthesise: error: {error}", file=sys.stderr)
        return 1
    partial.rename(args.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
