"""Listen to 24 hours of audio, faster than real time, and write soak.json beside the model: memory, drift, time taken.

    python recipes/soak.py

The audio is the bundled recording, over and over, at a microphone's rate and in a microphone's blocks.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import shlex
import sys
from datetime import UTC, datetime
from pathlib import Path

from lcspeech import Event, LcspeechError, Spotter, pretrained
from lcspeech.evaluation.soak import soak

SPEECH = Path(__file__).parents[1] / "demos" / "audio" / "commands.flac"


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="a shipped model (default: the best)")
    parser.add_argument("--hours", type=int, default=24, help="of audio (default: %(default)s)")
    parser.add_argument("--output", type=Path, help="default: soak.json in the model's folder")
    args = parser.parse_args(argv)
    if args.hours < 2:
        parser.error(f"--hours {args.hours}; give 2 or more, the last is compared with the first")
    return args


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    said = json.loads(SPEECH.with_suffix(".json").read_text())["events"]
    truth = [Event(word["keyword"], word["start"], word["end"], 1.0) for word in said if "keyword" in word]
    try:
        folder = args.output or pretrained.folder_of(args.model)
        figures = soak(Spotter.load(args.model), SPEECH, truth, args.hours)
    except LcspeechError as error:
        print(f"soak: error: {error}", file=sys.stderr)
        return 1
    command = shlex.join(["python", "recipes/soak.py", *(sys.argv[1:] if argv is None else argv)])
    fields = {"command": command, "date": datetime.now(UTC).date().isoformat(), **dataclasses.asdict(figures)}
    text = json.dumps(fields, indent=1) + "\n"
    if args.output:
        pretrained.write(args.output, text.encode())
    else:
        pretrained.write(folder / "soak.json", text.encode())
        pretrained.write_checksums(folder)
    hours = fields.pop("hours")
    print(json.dumps(fields, indent=1), f"first hour: {hours[0]}", f"last hour:  {hours[-1]}", sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
