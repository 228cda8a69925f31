"""``lcspeech listen``: events from the microphone, or from a pipe, as they happen."""

from __future__ import annotations

import argparse
import contextlib
import signal
from collections.abc import Iterator
from types import FrameType
from typing import TYPE_CHECKING

from lcspeech.cli._execute import Execute
from lcspeech.cli._options import WholeNumber, add_spotter_options, load_spotter
from lcspeech.cli._output import complain, event_fields, print_json, say
from lcspeech.cli._source import PIPE, PIPE_RATE, open_source
from lcspeech.cli._status import Status
from lcspeech.errors import UsageError

if TYPE_CHECKING:
    from lcspeech.cli._options import Subparsers
    from lcspeech.trigger import Event

EPILOG = """\
DEVICE - reads raw 16-bit little-endian PCM from standard input until it ends:
  arecord -f S16_LE -r 16000 -t raw | lcspeech listen -

The command of --exec runs for each event with LCSPEECH_KEYWORD, LCSPEECH_SCORE, LCSPEECH_START and LCSPEECH_END
(seconds) in its environment; its output goes to standard error. At the end of a pipe, those still running are waited
for. Ctrl-C ends listening with exit code 0.
"""


def add_parser(subparsers: Subparsers) -> None:
    """Add this command."""
    parser = subparsers.add_parser(
        "listen",
        help="spot keywords live",
        description="Spot keywords from a microphone, one line per event: seconds, keyword, score.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("place", nargs="?", metavar="DEVICE", help="index or part of a name (see 'lcspeech devices')")
    parser.add_argument("--device", metavar="DEVICE", help="the same (default: the system's microphone)")
    add_spotter_options(parser)
    parser.add_argument("--json", action="store_true", help="one JSON object per event: keyword, start, end, score")
    parser.add_argument("--verbose", action="store_true", help="tell the scores of near-misses, on standard error")
    parser.add_argument("--exec", metavar="CMD", help="run this shell command for each event")
    parser.add_argument(
        "--rate",
        type=WholeNumber(1_000, 768_000, "Hz"),
        metavar="R",
        help=f"of the PCM of DEVICE - (default: {PIPE_RATE} Hz)",
    )
    parser.add_argument(
        "--channels", type=WholeNumber(1, 64, "channels"), metavar="C", help="of the PCM of DEVICE - (default: 1)"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Listen until the source ends or the user does."""
    with _until_stopped():
        _listen(args, _device(args))
    return 0


def _device(args: argparse.Namespace) -> str | None:
    keywords = args.keyword or []
    if PIPE in keywords:  # `--keyword yes no -`: no word is called so
        keywords.remove(PIPE)
        args.place = args.place or PIPE
    if None not in (args.place, args.device):
        raise UsageError(f"two devices, '{args.place}' and '{args.device}'; give one")
    device: str | None = args.place if args.device is None else args.device
    if device != PIPE and (args.rate or args.channels):
        raise UsageError("--rate and --channels are for DEVICE -; a microphone has its own")
    return device


def _listen(args: argparse.Namespace, device: str | None) -> None:
    from lcspeech.near_misses import NearMisses

    spotter = load_spotter(args)
    words = [keyword.name for keyword in spotter.keywords]
    width = max(map(len, words))
    with open_source(device, args.rate, args.channels) as source, spotter.stream(source.sample_rate) as stream:
        status = Status(source.name, source.sample_rate, ", ".join(words))

        def warn(message: str) -> None:
            status.clear()
            complain("warning", message)

        execute = Execute(args.exec, warn)
        near_misses = NearMisses.of(spotter)

        def tell_near_misses() -> None:
            for event in near_misses.feed(stream.hits):
                status.clear()
                say(f"{event.start:8.2f}  {event.keyword:<{width}}  {event.score:.4f} is below its threshold")

        def report(events: list[Event]) -> None:
            for event in events:
                status.clear()
                if args.json:
                    print_json(event_fields(event))
                else:
                    print(f"{event.start:8.2f}  {event.keyword:<{width}}  {event.score:.2f}", flush=True)
                status.draw()
                execute.start(event)

        warned = False
        try:
            for block in source.blocks:
                report(stream.feed(block))
                if args.verbose:
                    tell_near_misses()
                status.hear(block)
                execute.reap()
                if not warned and source.overflows():
                    warned = True
                    warn("audio was lost, this machine cannot keep up; words may be missed. End other programs")
            report(stream.flush())
        finally:
            status.clear()
        if not stream.seconds:
            complain("warning", "there was no audio on standard input")
        execute.wait()


@contextlib.contextmanager
def _until_stopped() -> Iterator[None]:
    """Let SIGINT and SIGTERM end the block quietly; a second one kills, should the end take too long."""

    def stop(number: int, _frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)
        raise KeyboardInterrupt

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    except KeyboardInterrupt:
        pass
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
