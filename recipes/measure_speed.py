"""Measure how fast a shipped model runs on this machine, and write speed.json into its folder.

    python recipes/measure_speed.py

Run it on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from lcspeech import LcspeechError, pretrained
from lcspeech.evaluation.speed import measure_speed

SPEECH = Path(__file__).parents[1] / "demos" / "audio" / "commands.flac"


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="a shipped model (default: the best)")
    parser.add_argument("--recording", type=Path, default=SPEECH, help="speech to measure with (default: %(default)s)")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    try:
        figures = measure_speed(args.model, args.recording)
    except LcspeechError as error:
        print(f"measure_speed: error: {error}", file=sys.stderr)
        return 1
    shipped = pretrained.models()
    folder = shipped[args.model or next(iter(shipped))].path
    text = json.dumps({"command": "python recipes/measure_speed.py", **figures}, indent=2) + "\n"
    pretrained.write(folder / pretrained.SPEED, text.encode())
    pretrained.write_checksums(folder)
    print(text, end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
