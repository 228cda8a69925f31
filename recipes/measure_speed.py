"""Measure how fast the shipped models run on this machine, and write speed.json into the folder of each.

    python recipes/measure_speed.py

The figures are those of ``lcspeech bench``, on recorded speech. Run it on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from pathlib import Path

import numpy as np

from lcspeech import pretrained
from lcspeech.audio import read_blocks
from lcspeech.evaluation import figures
from lcspeech.evaluation.peers import installed
from lcspeech.evaluation.speed import SPEECH_RATE, bench

SPEECH = Path(__file__).parents[1] / "demos" / "audio" / "commands.flac"


def measure(args: argparse.Namespace, made: figures.Made) -> None:
    names = args.model or list(pretrained.models())
    folders = [pretrained.locate(name).parent for name in names]
    measured = bench(names, np.concatenate(list(read_blocks(args.recording, SPEECH_RATE))), installed())
    peers = [dataclasses.asdict(peer) for peer in measured.peers]
    for model, folder in zip(measured.models, folders, strict=True):
        run = {**made, "machine": measured.machine, **dataclasses.asdict(model), "peers": peers}
        print(figures.write(folder / pretrained.SPEED, run), end="")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", nargs="+", help="shipped models, or folders of models (default: all shipped)")
    parser.add_argument("--recording", type=Path, default=SPEECH, help="speech to measure with (default: %(default)s)")
    return figures.main("measure_speed", measure, parser, argv)


if __name__ == "__main__":
    sys.exit(main())
