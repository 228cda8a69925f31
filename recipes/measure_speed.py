"""Measure how fast the shipped models run on this machine, and write speed.json into the folder of each.

    python recipes/measure_speed.py

The figures are those of ``lcspeech bench``, on recorded speech. Run it on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import shlex
import sys
from pathlib import Path

import numpy as np

from lcspeech import LcspeechError, pretrained
from lcspeech.audio import read_blocks
from lcspeech.evaluation.peers import installed
from lcspeech.evaluation.speed import SPEECH_RATE, bench

SPEECH = Path(__file__).parents[1] / "demos" / "audio" / "commands.flac"


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", nargs="+", help="shipped models (default: all)")
    parser.add_argument("--recording", type=Path, default=SPEECH, help="speech to measure with (default: %(default)s)")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    try:
        names = args.model or list(pretrained.models())
        folders = [pretrained.folder_of(name) for name in names]
        speech = np.concatenate(list(read_blocks(args.recording, SPEECH_RATE)))
        figures = bench(names, speech, installed())
    except LcspeechError as error:
        print(f"measure_speed: error: {error}", file=sys.stderr)
        return 1
    command = shlex.join(["python", "recipes/measure_speed.py", *(sys.argv[1:] if argv is None else argv)])
    run = {"command": command, "date": figures.date, "machine": figures.machine}
    peers = [dataclasses.asdict(peer) for peer in figures.peers]
    for model, folder in zip(figures.models, folders, strict=True):
        text = json.dumps({**run, **dataclasses.asdict(model), "peers": peers}, indent=2) + "\n"
        pretrained.write(folder / pretrained.SPEED, text.encode())
        pretrained.write_checksums(folder)
        print(text, end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
