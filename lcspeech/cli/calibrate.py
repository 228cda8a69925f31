"""``lcspeech calibrate``: a keyword's threshold from a recording of the room."""

from __future__ import annotations

import argparse
import dataclasses
import math
from pathlib import Path
from typing import TYPE_CHECKING

from lcspeech.cli._keywords import check_output, is_file, read_keywords
from lcspeech.cli._options import load_model
from lcspeech.cli._output import complain
from lcspeech.errors import UsageError

if TYPE_CHECKING:
    from lcspeech.cli._options import Subparsers

TARGET = 0.5  # false alarms per hour


def add_parser(subparsers: Subparsers) -> None:
    """Add this command."""
    parser = subparsers.add_parser(
        "calibrate",
        help="choose a keyword's threshold by the sound of a room",
        description="Choose a keyword's threshold by a recording of the room in which it will be heard, and in which "
        "nobody says it: talk, music and machines as on any day, for as long as one false alarm may take, or longer: "
        "two hours for 0.5 an hour.",
    )
    parser.add_argument("keyword", metavar="KEYWORD", help="keyword file, which is rewritten; or as for --keyword")
    parser.add_argument("--room", required=True, metavar="FILE", help="the recording")
    parser.add_argument(
        "--target-fa", type=_rate, default=TARGET, metavar="X", help="false alarms per hour (default: %(default)s)"
    )
    parser.add_argument("--model", metavar="M", help="the model that will listen (default: as of listen)")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="keyword file to write (default: KEYWORD)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the threshold with its false alarms and misses, and write it into the keyword file."""
    from lcspeech.audio import read_blocks
    from lcspeech.evaluation.room import room_threshold

    body = args.keyword.rpartition(":")[0] or args.keyword
    output = args.output or next((Path(text) for text in (args.keyword, body) if is_file(text)), None)
    if output is not None:
        check_output(output)
    spotter = load_model(args.model, [str(output) if output else args.keyword])  # that which will hear what is written
    (keyword,) = read_keywords(spotter, [args.keyword])
    blocks = read_blocks(args.room, spotter.card.features.sample_rate)
    found = room_threshold(spotter, keyword, blocks, args.target_fa)
    alarms, misses = found.false_alarms, found.misses
    if not alarms.hours:
        raise UsageError(f"'{args.room}' holds no sound; record the room again")
    if output is not None:  # first, whatever becomes of what is printed
        measured = {"target_per_hour": args.target_fa, "model": spotter.card.name, **found.to_json()}
        dataclasses.replace(keyword, threshold=found.threshold, calibration=measured).save(output)
    print(f"{keyword.name}: threshold {found.threshold:g}")
    low, high = alarms.interval
    print(
        f"false alarms: {alarms.value:.2f} per hour, 95 % interval {low:.2f} to {high:.2f} "
        f"({alarms.events} in {alarms.hours:.2f} h)"
    )
    if misses.total:
        low, high = (100 * share for share in misses.interval)
        print(
            f"misses: {100 * misses.value:.0f} %, 95 % interval {low:.0f} to {high:.0f} % "
            f"({misses.count} of {misses.total} recordings score below)"
        )
    else:
        scored = f"no recordings of '{keyword.name}' were scored by '{spotter.card.name}'"
        print(f"misses: not known, {scored}; 'lcspeech enroll' keeps such scores")
    if alarms.hours * args.target_fa < 1:
        enough = f"{1 / args.target_fa:g} h or more" if args.target_fa else "a longer time"
        lowered = ", and the threshold is not lowered by it" if args.target_fa else ""
        complain("warning", f"{alarms.hours:.2f} h cannot tell {args.target_fa:g} per hour{lowered}; record {enough}")
    if output is not None:
        print(f"{output}: written")
    return 0


def _rate(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"'{text}' is not a rate; give false alarms per hour, 0 or more")
    return value
