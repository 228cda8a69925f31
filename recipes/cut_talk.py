"""Cut talk.ogg, the talk that `lcspeech enroll` learns from, out of LibriSpeech: as many minutes of every speaker.

python recipes/cut_talk.py --librispeech-dir librispeech/train-clean-5 --without 1737 2136 3526 6848 8629
"""

from __future__ import annotations

import argparse
import io
import sys
from pathlib import Path

import numpy as np
import soundfile

from lcspeech import pretrained
from lcspeech.cli._options import Number
from lcspeech.errors import DataError
from lcspeech.evaluation import figures
from lcspeech.evaluation.datasets import find_utterances, read_samples
from lcspeech.evaluation.levels import levelled

RATE = 16_000
PAUSE_SECONDS = 0.6  # between utterances: a word that ends one is said on its own, and taken for another the easier


def cut(args: argparse.Namespace, _: figures.Made) -> None:
    said: dict[str, list[Path]] = {}
    for path, _words, speaker in find_utterances(args.librispeech_dir):
        if speaker not in args.without:
            said.setdefault(speaker, []).append(path)
    if not said:
        raise DataError(f"nobody is left who speaks in '{args.librispeech_dir}'; name fewer --without")
    random, parts = np.random.default_rng(0), list[np.ndarray]()
    pause = np.zeros(round(PAUSE_SECONDS * RATE), np.float32)
    for paths in said.values():
        left = args.minutes * 60 / len(said)
        for i in random.permutation(len(paths)):
            samples = levelled(read_samples(paths[i], RATE), RATE)
            parts += [samples, pause]
            left -= len(samples) / RATE
            if left <= 0:
                break
    talk, packed = np.concatenate(parts), io.BytesIO()
    soundfile.write(packed, talk.clip(-1, 1), RATE, format="OGG", subtype="OPUS", compression_level=0.95)
    pretrained.write(args.output, packed.getvalue())
    print(f"{args.output}: {len(talk) / RATE / 60:.1f} minutes of {len(said)} speakers")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--librispeech-dir", type=Path, required=True, help="speaker/chapter/*.trans.txt with audio")
    parser.add_argument("--without", nargs="*", default=[], help="speakers who are kept out of training")
    minutes = Number(0, 10_000, "minutes", above=True)
    parser.add_argument("--minutes", type=minutes, default=20.0, help="of all speakers (default: %(default)s)")
    parser.add_argument("--output", type=Path, default=Path("pretrained/talk.ogg"), help="default: %(default)s")
    return figures.main("cut_talk", cut, parser, argv)


if __name__ == "__main__":
    sys.exit(main())
