"""Listen to 24 hours of audio, faster than real time, and write soak.json beside the model: memory, drift, time taken.

    python recipes/soak.py

The audio is the bundled recording, over and over, at a microphone's rate and in a microphone's blocks.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path

from lcspeech import Event, Spotter, UsageError, pretrained
from lcspeech.evaluation import figures
from lcspeech.evaluation.soak import soak

SPEECH = Path(__file__).parents[1] / "demos" / "audio" / "commands.flac"


def measure(args: argparse.Namespace, made: figures.Made) -> None:
    if args.hours < 2:
        raise UsageError(f"--hours {args.hours}; give 2 or more, the last is compared with the first")
    said = json.loads(SPEECH.with_suffix(".json").read_text())["events"]
    truth = [Event(word["keyword"], word["start"], word["end"], 1.0) for word in said if "keyword" in word]
    output = args.output or pretrained.folder_of(args.model) / "soak.json"
    fields = {**made, **dataclasses.asdict(soak(Spotter.load(args.model), SPEECH, truth, args.hours))}
    figures.write(output, fields)
    hours = fields.pop("hours")
    print(json.dumps(fields, indent=1), f"first hour: {hours[0]}", f"last hour:  {hours[-1]}", sep="\n")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="a shipped model (default: the best)")
    parser.add_argument("--hours", type=int, default=24, help="of audio (default: %(default)s)")
    parser.add_argument("--output", type=Path, help="default: soak.json in the model's folder")
    return figures.main("soak", measure, parser, argv)


if __name__ == "__main__":
    sys.exit(main())
