"""``lcspeech enroll``: a keyword from a few recordings, from the microphone, or from synthetic voices."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from lcspeech.cli._keywords import (
    KEYWORD_FILE,
    check_output,
    is_file,
    is_own,
    read_keyword,
    tell_guesses,
    warn_if_short,
)
from lcspeech.cli._options import WholeNumber
from lcspeech.cli._output import complain
from lcspeech.cli._progress import bar_of
from lcspeech.errors import MissingDependencyError, UsageError

if TYPE_CHECKING:
    from lcspeech.cli._options import Subparsers
    from lcspeech.spotter import Audio, Spotter
    from lcspeech.units import Keyword

_FAINT = 0.05  # the score of a recording below which it may be one of another word


def add_parser(subparsers: Subparsers) -> None:
    """Add this command."""
    parser = subparsers.add_parser(
        "enroll",
        help="learn a keyword from a few recordings, or from synthetic voices",
        description="Learn a keyword in under a minute: from three or more recordings, in any language, one word or "
        "phrase in each; from what the synthetic voices of flite and espeak-ng, if they are installed, make of it; or "
        "from both, which is best.",
        epilog="Use it with --keyword FILE.json. Choose its threshold with 'lcspeech calibrate'.",
    )
    parser.add_argument(
        "name", metavar="NAME", help="the word or phrase; 'name=F OW N IY M Z' if it is not said as it is written"
    )
    parser.add_argument("recordings", nargs="*", metavar="FILE", help="audio, or a directory that holds some")
    parser.add_argument(
        "--record", type=WholeNumber(3, 50, "recordings"), metavar="N", help="record it N times at the microphone"
    )
    parser.add_argument("--device", metavar="DEVICE", help="to record from (default: the system's microphone)")
    parser.add_argument("--voices", action="store_true", help="learn it from synthetic voices, too, or alone")
    parser.add_argument("--negatives", metavar="DIR", help="recordings without the word, which must not raise it")
    parser.add_argument("--quick", action="store_true", help="learn nothing but how it is pronounced: worse")
    parser.add_argument("--model", metavar="M", help="the model that will listen (default: open)")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="keyword file (default: NAME.json)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Write the keyword file, and print what was heard in each recording."""
    from lcspeech import pretrained, voices
    from lcspeech.audio import find_audio
    from lcspeech.cli._record import record
    from lcspeech.enrollment import enroll, steps
    from lcspeech.spotter import Spotter

    name, is_spelled, _ = (part.strip() for part in args.name.partition("="))
    _check(args, name)
    output = args.output or Path(name.replace("/", "_") + KEYWORD_FILE)
    check_output(output)
    spotter = Spotter.load(args.model or pretrained.OPEN)
    learns = not args.quick and spotter.card.hidden > 0
    if not args.quick and not learns:
        told = f"'{spotter.card.name}' can only hear how a word is pronounced, as with --quick; 'open' learns it"
        complain("warning", told)
    given = read_keyword(spotter, args.name) if is_spelled else name
    negatives = [] if args.negatives is None else find_audio([args.negatives])
    recordings: list[Audio] = []
    if args.record:
        recordings += record(name, args.record, args.device, spotter)
    elif args.recordings:
        recordings += find_audio(args.recordings)
    if args.voices and len(there := voices.installed()) == 1:
        (other,) = {voices.FLITE, voices.ESPEAK} - set(there)
        complain("warning", f"only {there[0]} is installed; with {other}, too, more is found")
    known = None if is_spelled else _known(spotter, name, bool(recordings))
    rate = spotter.card.features.sample_rate
    with bar_of("learning", steps(len(recordings)) if learns else 0) as bar:
        keyword = enroll(
            given,
            recordings,
            spotter=spotter,
            negatives=negatives,
            sample_rate=rate,
            voices=args.voices,
            learn=not args.quick,
            on_step=lambda: bar.advance(1),
        )
    keyword.save(output)
    _tell_scores(keyword, spotter, recordings, negatives)
    if known is not None and not set(known.sequences) & set(keyword.sequences):
        usual = " ".join(known.symbols[0])
        complain("warning", f"the recordings do not sound like '{name}' ({usual}); if they should, record it again")
    warn_if_short(keyword, spotter.card)
    heard = ", ".join(" ".join(sequence) for sequence in keyword.symbols)
    print(f"{output}: '{keyword.name}' heard as {heard}; threshold {keyword.threshold:g}")
    return 0


def _check(args: argparse.Namespace, name: str) -> None:
    if args.recordings and args.record:
        raise UsageError("give recordings of the word, or --record N to make them")
    if not (args.recordings or args.record or args.voices):
        raise UsageError("give recordings of the word, --record N to make them, or --voices to have it said")
    if args.device and not args.record:
        raise UsageError("--device is what --record N records from; give that, too")
    if not name:
        raise UsageError("an empty NAME; name the word")
    if args.voices and args.quick:
        raise UsageError("with --quick nothing is learned, from --voices neither; leave one of them out")
    if ":" in args.name:
        raise UsageError(f"a threshold is not learned, '{args.name}'; give it to those that listen")
    if is_file(name):
        raise UsageError(f"'{name}' is a file's name; give the word's, and the file as --output")


def _known(spotter: Spotter, name: str, is_recorded: bool) -> Keyword | None:
    """The name as the dictionary spells it; told is what is guessed, or not known since no dictionary is there."""
    from lcspeech.errors import LcspeechError
    from lcspeech.pronunciation import spell

    try:
        keyword = spotter.keyword(name)
    except MissingDependencyError as error:
        if is_recorded:
            complain("warning", f"it is spelled as it is heard, which finds less: {error}")
    except LcspeechError:
        pass  # recordings need no spelling; without them, enroll tells
    else:
        if not is_recorded:
            tell_guesses(spotter, keyword)
        if is_own(spotter.card, name) or not spell(name).guessed:
            return keyword
    return None


def _tell_scores(keyword: Keyword, spotter: Spotter, recordings: list[Audio], negatives: list[Path]) -> None:
    """The scores of recordings, and what is wrong with them."""
    labels = [one if isinstance(one, str | Path) else f"recording {i}" for i, one in enumerate(recordings, start=1)]
    for label, score in zip(labels, keyword.scores, strict=True):
        print(f"{label}  {score:.4f}{'' if score >= keyword.threshold else '  below the threshold'}")
    if negatives and max(keyword.scores, default=1.0) < keyword.threshold:
        heard_in = spotter.replace(keywords=[keyword])
        loudest = max(negatives, key=heard_in.peak)
        told = f"'{loudest}' scores higher than all recordings; leave negatives that hold the word out"
        complain("warning", told)
    elif 2 * sum(score < keyword.threshold for score in keyword.scores) > len(keyword.scores):
        complain("warning", "most of the recordings are below the threshold; are all of them of the same word?")
    elif faint := [str(label) for label, score in zip(labels, keyword.scores, strict=True) if score < _FAINT]:
        complain("warning", f"hardly heard by what the others taught: {', '.join(faint)}; is it the same word?")
