"""What `listen` waits for: each word of a model, or with --wake a wake word and the commands after it."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from lcspeech.chain import Chain, Command
from lcspeech.cli._keywords import read_keywords
from lcspeech.cli._options import load_model, load_spotter, seconds
from lcspeech.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from lcspeech.spotter import Spotter
    from lcspeech.trigger import Event

WITHIN_SECONDS = 3.0


def add_chain_options(parser: argparse.ArgumentParser) -> None:
    """--wake, --then, --within and --wake-model, as `load_words` reads them."""
    parser.add_argument("--wake", type=_words, metavar="W", help="wake words as for --keyword: 'marvin,sheila:0.6'")
    parser.add_argument("--then", type=_words, metavar="W,...", help="commands, which count only after a wake word")
    parser.add_argument(
        "--within",
        type=seconds,
        metavar="S",
        help=f"seconds after the wake word until which a command has to begin (default: {WITHIN_SECONDS:g})",
    )
    parser.add_argument("--wake-model", metavar="M", help="a model of its own for the wake word (default: --model)")


class Words:
    """One or two spotters, and the chain that joins their events; without a chain every word is reported."""

    def __init__(self, spotters: tuple[Spotter, ...], chain: Chain | None) -> None:
        self.spotters, self.chain = spotters, chain
        self.names = [keyword.name for spotter in spotters for keyword in spotter.keywords]

    def __str__(self) -> str:
        if self.chain is None:
            return ", ".join(self.names)
        wake, then = ([name for name in self.names if name in part] for part in (self.chain.wake, self.chain.then))
        return f"{' or '.join(wake)}, then {', '.join(then)}"

    @property
    def longest(self) -> float:
        """Seconds from the start of a wake word to the end of its command, at most."""
        from lcspeech.search import longest_seconds

        longest = max(longest_seconds(keyword) for spotter in self.spotters for keyword in spotter.keywords)
        return longest if self.chain is None else 2 * longest + self.chain.within

    def is_command(self, command: Command) -> bool:
        """Whether it is what the user waits for, and not just the wake word before it."""
        return self.chain is None or command.wake is not None


class Streams:
    """The streams of one source of audio; what they hear are words, and commands that carry their wake word."""

    def __init__(self, words: Words, sample_rate: int) -> None:
        from lcspeech.near_misses import NearMisses

        self._chain = words.chain
        self._streams = [spotter.stream(sample_rate) for spotter in words.spotters]
        self._near_misses = [NearMisses.of(spotter) for spotter in words.spotters]

    @property
    def seconds(self) -> float:
        """Seconds of audio heard so far."""
        return self._streams[0].seconds

    def feed(self, block: NDArray[np.float32]) -> list[Command]:
        """Hear a block ``[n]``."""
        return [*self._reported(event for stream in self._streams for event in stream.feed(block))]

    def near_misses(self) -> list[Event]:
        """The words that were almost heard in the last block."""
        both = zip(self._near_misses, self._streams, strict=True)
        return [event for near, stream in both for hits in stream.hits for event in near.feed(hits)]

    def flush(self) -> list[Command]:
        """What waited for more audio; the source ended."""
        return [*self._reported(event for stream in self._streams for event in stream.flush())]

    def _reported(self, events: Iterable[Event]) -> Iterator[Command]:
        for event in events:
            if self._chain is None or event.keyword in self._chain.wake:
                yield Command(event, None)
            if self._chain is not None:
                yield from self._chain.hear(event)


def load_words(args: argparse.Namespace) -> Words:
    """The spotters and the chain that the options ask for."""
    if args.wake is None:
        if args.then or args.within or args.wake_model:
            raise UsageError("--then, --within and --wake-model need --wake: the word that comes first")
        return Words((load_spotter(args),), None)
    if args.then is None:
        raise UsageError("--wake needs --then: the commands that count after it")
    if args.keyword:
        raise UsageError("--keyword is for listening without --wake; name the commands with --then")
    wake_model = load_model(args.wake_model or args.model, args.wake if args.wake_model else [*args.wake, *args.then])
    wake = read_keywords(wake_model, args.wake, args.threshold)
    model = load_model(args.model, args.then) if args.wake_model else wake_model
    then = read_keywords(model, args.then, args.threshold)
    first, second = ([keyword.name for keyword in words] for words in (wake, then))
    chain = Chain(first, second, args.within or WITHIN_SECONDS)
    if args.wake_model is None:
        return Words((model.replace(keywords=[*wake, *then]),), chain)
    return Words((wake_model.replace(keywords=wake), model.replace(keywords=then)), chain)


def _words(text: str) -> list[str]:
    """Names with commas between."""
    names = [name.strip() for name in text.split(",")]
    if not all(names):
        raise argparse.ArgumentTypeError(f"'{text}' is not a list of words; write them like 'up,down'")
    return list(dict.fromkeys(names))
