"""Options that several commands share."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from lcspeech.cli._keywords import is_own, read_keywords

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lcspeech.spotter import Spotter

    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

LONGEST_SECONDS = 60.0  # that an option may ask for


def add_model_option(parser: argparse.ArgumentParser) -> None:
    """--model, as `Spotter.load` reads it."""
    parser.add_argument(
        "--model",
        metavar="M",
        help="a shipped model, a model's folder or .onnx file (default: the best shipped for the words)",
    )


def add_spotter_options(parser: argparse.ArgumentParser) -> None:
    """--model, --keyword and --threshold, as `load_spotter` reads them."""
    add_model_option(parser)
    parser.add_argument(
        "--keyword",
        nargs="+",
        action="extend",
        metavar="W",
        help="spot these (default: the model's): words, 'any phrase', 'name=F OW N IY M Z' ('|' between "
        "several pronunciations), file.json; each may end in :THRESHOLD",
    )
    parser.add_argument(
        "--threshold", type=threshold, metavar="X", help="score from 0 to 1 that counts as heard (default: the model's)"
    )


def model_for(model: str | None, keywords: Iterable[str]) -> str | None:
    """What `Spotter.load` is to load: `model`, or if none was asked for, the best for the arguments `keywords`."""
    from lcspeech import pretrained

    keywords = tuple(keywords)
    if model is not None or not keywords:
        return model
    card = pretrained.read_folder(pretrained.folder_of()).card
    return None if all(is_own(card, keyword) for keyword in keywords) else pretrained.OPEN


def load_model(model: str | None, keywords: Iterable[str]) -> Spotter:
    """The model that was asked for; if none was, the best for `keywords`, as the arguments name them."""
    from lcspeech.spotter import Spotter

    return Spotter.load(model_for(model, keywords))


def load_spotter(args: argparse.Namespace) -> Spotter:
    """The spotter that the options ask for."""
    spotter = load_model(args.model, args.keyword or ())
    if args.keyword is None:
        return spotter.replace(threshold=args.threshold)
    return spotter.replace(keywords=read_keywords(spotter, args.keyword, args.threshold))


def threshold(text: str) -> float:
    """A score from 0 to 1."""
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not 0.0 <= value <= 1.0:
        raise argparse.ArgumentTypeError(f"'{text}' is not a score; give one from 0 to 1")
    return value


class Number:
    """A number of something, from `lowest` (or above it, if that itself is not allowed) to `highest`."""

    def __init__(self, lowest: float, highest: float, unit: str, above: bool = False) -> None:
        self._lowest, self._highest, self._unit, self._above = lowest, highest, unit, above

    def __call__(self, text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not self._lowest <= value <= self._highest or (self._above and value == self._lowest):
            lowest = f"above {self._lowest:g}" if self._above else f"from {self._lowest:g}"
            raise argparse.ArgumentTypeError(f"'{text}' is not a number of {self._unit} {lowest} to {self._highest:g}")
        return value


# A time that an option asks for; some of them are kept in memory
seconds = Number(0, LONGEST_SECONDS, "seconds", above=True)


class WholeNumber:
    """A whole number of something (or of nothing, if `unit` is empty), between two bounds."""

    def __init__(self, lowest: int, highest: int, unit: str) -> None:
        self._lowest, self._highest, self._unit = lowest, highest, unit

    def __call__(self, text: str) -> int:
        if not text.isdecimal() or not self._lowest <= int(text) <= self._highest:
            of = f" of {self._unit}" if self._unit else ""
            expected = f"a whole number{of} from {self._lowest} to {self._highest}"
            raise argparse.ArgumentTypeError(f"'{text}' is not {expected}")
        return int(text)
