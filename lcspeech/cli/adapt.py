"""``lcspeech adapt``: a model that knows words of one's own, typed or recorded, trained in a minute or two."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from lcspeech.cli._keywords import is_file, read_keywords
from lcspeech.cli._output import complain
from lcspeech.cli._progress import bar_of
from lcspeech.errors import MissingDependencyError, UsageError

if TYPE_CHECKING:
    from lcspeech.cli._options import Subparsers


def add_parser(subparsers: Subparsers) -> None:
    """Add this command."""
    parser = subparsers.add_parser(
        "adapt",
        help="train a model on words of your own",
        description="Train a model on words of your own in a minute or two: on three or more recordings of each, on "
        "what the synthetic voices of flite and espeak-ng (if they are installed) make of it, or on both, which is "
        "best. It finds more than words that are only typed or enrolled. Needs the extra: pip install "
        "'lcspeech[train]'",
        epilog="Listen with --model DIR. 'lcspeech calibrate WORD --model DIR -o WORD.json' chooses a threshold, which "
        "is then used by --model DIR --keyword WORD.json.",
    )
    parser.add_argument(
        "words", nargs="*", type=Path, metavar="FOLDER", help="recordings of one word, by its name, '_' for a space"
    )
    parser.add_argument(
        "--keyword",
        nargs="+",
        action="extend",
        default=[],
        metavar="W",
        help="learn these as synthetic voices say them: words, 'any phrase', 'name=F OW N IY M Z' ('|' between "
        "several pronunciations); after the folders",
    )
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="DIR", help="the model's folder; one there is replaced"
    )
    parser.add_argument("--negatives", metavar="DIR", help="recordings without the words, which must not raise them")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Write the model's folder, and print how surely it hears the recordings that it learned from."""
    from lcspeech import pretrained
    from lcspeech.audio import find_audio
    from lcspeech.spotter import Spotter

    if str(args.output) in pretrained.models():
        raise UsageError(f"a model called '{args.output}' is shipped, and would be found first; give another name")
    words: dict[str, list[Path]] = {}
    for folder in args.words:
        if not folder.is_dir():
            raise UsageError(f"'{folder}' is no folder; give one for each word, by the name of the word")
        if (name := folder.resolve().name.replace("_", " ")) in words:
            raise UsageError(f"two folders of recordings are called '{name}'; put them into one")
        words[name] = find_audio([folder])
    for text in args.keyword:
        if is_file(text.rpartition(":")[0] or text):
            raise UsageError(f"'{text}' holds no sound to learn from; give the folder of its recordings")
        if ":" in text:
            raise UsageError(f"a threshold is not learned, '{text}'; give it to those that listen with the model")
        if Path(text).is_dir() and text.replace("_", " ") not in words:
            raise UsageError(f"'{text}' is a folder; put those of recordings before --keyword")
    typed = read_keywords(Spotter.load(pretrained.OPEN), args.keyword) if args.keyword else []
    negatives = [] if args.negatives is None else find_audio([args.negatives])
    try:
        from lcspeech.train import voices
        from lcspeech.train.adapt import adapt, steps

        if typed and len(there := voices.installed()) == 1:
            (other,) = {voices.FLITE, voices.ESPEAK} - set(there)
            complain("warning", f"only {there[0]} is installed; with {other}, too, more is found")
        names = {*words, *(keyword.name for keyword in typed)}
        with bar_of("training", steps(len(names))) as bar:
            spotter = adapt(words, args.output, negatives, on_step=lambda: bar.advance(1), typed=typed)
    except ImportError as error:  # some are imported only when they are needed
        raise MissingDependencyError(f"adapt needs {error.name or error}: pip install 'lcspeech[train]'") from error
    for keyword in spotter.keywords:
        if keyword.name not in words:
            print(f"{keyword.name}: learned from {' and '.join(voices.installed())}, no recordings to try it on")
            continue
        alone = spotter.replace(keywords=[keyword])
        scores = [alone.peak(file) for file in words[keyword.name]]
        heard = sum(score >= keyword.threshold for score in scores)
        print(f"{keyword.name}: {heard} of its {len(scores)} recordings heard, scores from {min(scores):.2f}")
    print(f"{args.output}: written; listen with --model {args.output}")
    return 0
