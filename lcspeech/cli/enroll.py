"""``lcspeech enroll``: a keyword from a few recordings, or from the microphone."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from lcspeech.cli._keywords import KEYWORD_FILE, check_output
from lcspeech.cli._options import WholeNumber
from lcspeech.cli._output import complain
from lcspeech.errors import UsageError

if TYPE_CHECKING:
    from lcspeech.cli._options import Subparsers


def add_parser(subparsers: Subparsers) -> None:
    """Add this command."""
    parser = subparsers.add_parser(
        "enroll",
        help="learn a keyword from a few recordings",
        description="Learn a keyword of any language from three or more recordings, one word or phrase in each.",
        epilog="Use it with --keyword FILE.json. Choose its threshold with 'lcspeech calibrate'. "
        "'lcspeech adapt' takes a minute instead of seconds, and finds more.",
    )
    parser.add_argument("name", metavar="NAME", help="what its events are called")
    parser.add_argument("recordings", nargs="*", metavar="FILE", help="audio, or a directory that holds some")
    parser.add_argument(
        "--record", type=WholeNumber(3, 50, "recordings"), metavar="N", help="record it N times at the microphone"
    )
    parser.add_argument("--device", metavar="DEVICE", help="to record from (default: the system's microphone)")
    parser.add_argument("--negatives", metavar="DIR", help="recordings without the word, which must not raise it")
    parser.add_argument("--model", metavar="M", help="the model that will listen (default: open)")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="keyword file (default: NAME.json)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Write the keyword file, and print what was heard in each recording."""
    from lcspeech import pretrained
    from lcspeech.audio import find_audio
    from lcspeech.cli._record import record
    from lcspeech.enrollment import enroll
    from lcspeech.spotter import Audio, Spotter

    if bool(args.recordings) == bool(args.record):
        raise UsageError("give recordings of the word, or --record N to make them")
    if not args.name.strip():
        raise UsageError("an empty NAME; name the word")
    output = args.output or Path(args.name + KEYWORD_FILE)
    check_output(output)
    spotter = Spotter.load(args.model or pretrained.OPEN)
    negatives = [] if args.negatives is None else find_audio([args.negatives])
    recordings: list[Audio] = []
    if args.record:
        recordings += record(args.name, args.record, args.device, spotter)
    else:
        recordings += find_audio(args.recordings)
    rate = spotter.card.features.sample_rate
    keyword = enroll(args.name, recordings, spotter=spotter, negatives=negatives, sample_rate=rate)
    keyword.save(output)
    for i, (recording, score) in enumerate(zip(recordings, keyword.scores, strict=True), start=1):
        label = recording if isinstance(recording, str | Path) else f"recording {i}"
        print(f"{label}  {score:.4f}{'' if score >= keyword.threshold else '  below the threshold'}")
    if negatives and max(keyword.scores) < keyword.threshold:
        heard_in = spotter.replace(keywords=[keyword])
        loudest = max(negatives, key=heard_in.peak)
        told = f"'{loudest}' scores higher than all recordings; leave negatives that hold the word out"
        complain("warning", told)
    elif 2 * sum(score < keyword.threshold for score in keyword.scores) > len(keyword.scores):
        complain("warning", "most of the recordings are below the threshold; are all of them of the same word?")
    heard = ", ".join(" ".join(sequence) for sequence in keyword.symbols)
    print(f"{output}: '{keyword.name}' heard as {heard}; threshold {keyword.threshold:g}")
    return 0
