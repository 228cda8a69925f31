"""Have flite's voices say words drawn from CMUdict, in LibriSpeech's layout: speech of words that no recording holds.

    python recipes/synthesise.py --output synthetic --without athena amelia
    python recipes/train_kws.py --librispeech-dir librispeech/train-clean-5 --synthetic-dir synthetic …

flite (Debian's package of that name) brings its voices. The same seed and flite make the same files.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import soundfile
from rich.progress import track

from lcspeech import MissingDependencyError
from lcspeech.cli._options import WholeNumber
from lcspeech.pronunciation import single
from lcspeech.voices import FLITE_VOICES, PITCH, RATE, STRETCH, flite

UTTERANCES_PER_CHAPTER = 100
WORDS, PHRASE = (4, 12), (1, 3)  # in an utterance; between pauses
PAUSE_SECONDS = 0.3  # at both ends, at most


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="folder to make: voice/chapter/*.flac, *.trans.txt")
    utterances, seeds = WholeNumber(1, 10**6, "utterances"), WholeNumber(0, 2**32 - 1, "")
    parser.add_argument("--utterances", type=utterances, default=700, help="of each voice (default: %(default)s)")
    parser.add_argument("--without", nargs="*", default=[], help="words that are never said: those to test with")
    parser.add_argument("--seed", type=seeds, default=1, help="default: %(default)s")
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


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    without = {word.lower() for word in args.without}
    vocabulary = [word for word in single() if word not in without]
    partial = args.output.with_name(f"{args.output.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)  # of a run that was stopped

    def make(voice: str, number: int) -> tuple[Path, str]:
        random = np.random.default_rng([args.seed, FLITE_VOICES.index(voice), number])
        said = list(phrases(random, vocabulary))
        text = ", ".join(" ".join(phrase) for phrase in said)
        samples = flite(text, voice, random.uniform(*STRETCH), np.exp(random.uniform(*np.log(PITCH))))
        pauses = [np.zeros(int(seconds * RATE), np.float32) for seconds in random.uniform(0, PAUSE_SECONDS, 2)]
        chapter = number // UTTERANCES_PER_CHAPTER
        name = f"{voice}-{chapter}-{number:04}"
        spoken = text.replace(",", "").upper()
        folder = partial / voice / str(chapter)
        folder.mkdir(parents=True, exist_ok=True)
        soundfile.write(folder / f"{name}.flac", np.concatenate([pauses[0], samples, pauses[1]]), RATE)
        return folder / f"{voice}-{chapter}.trans.txt", f"{name} {spoken}\n"

    jobs = [(voice, number) for voice in FLITE_VOICES for number in range(args.utterances)]
    try:
        with ThreadPoolExecutor() as pool:
            for transcript, line in track(pool.map(make, *zip(*jobs, strict=True)), "speaking", len(jobs)):
                with transcript.open("a") as file:
                    file.write(line)
    except (MissingDependencyError, OSError, soundfile.LibsndfileError) as error:  # the last of a full disk
        print(f"synthesise: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("synthesise: stopped", file=sys.stderr)
        return 130
    partial.rename(args.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
