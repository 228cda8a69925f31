"""``lcspeech listen``: events from the microphone, or from a pipe, as they happen."""

from __future__ import annotations

import argparse
import contextlib
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from lcspeech.cli._chain import Streams, add_chain_options, load_words
from lcspeech.cli._clips import BEFORE_SECONDS, Clips
from lcspeech.cli._execute import Execute
from lcspeech.cli._keywords import tell_learnable
from lcspeech.cli._options import WholeNumber, add_spotter_options, seconds
from lcspeech.cli._output import command_fields, log_shown, print_json, say
from lcspeech.cli._source import PIPE, PIPE_RATE, open_source
from lcspeech.cli._status import Status, warn
from lcspeech.errors import UsageError

if TYPE_CHECKING:
    from lcspeech.chain import Command
    from lcspeech.cli._options import Subparsers

EPILOG = """\
DEVICE - reads raw 16-bit little-endian PCM from standard input until it ends:
  arecord -f S16_LE -r 16000 -t raw | lcspeech listen -

With --wake, a command is an event that carries its wake word; the wake word itself is printed too:
  lcspeech listen --wake marvin --then up,down,stop --within 3

The command of --exec runs for each event, with --wake for each command, with LCSPEECH_KEYWORD, LCSPEECH_SCORE,
LCSPEECH_START and LCSPEECH_END (seconds) in its environment, those of the wake word as LCSPEECH_WAKE_KEYWORD and so on,
and the path of --save-clips as LCSPEECH_CLIP; its output goes to standard error. At the end of a pipe, those still
running are waited for. Ctrl-C ends listening with exit code 0.

A microphone that is unplugged is waited for.
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
    add_chain_options(parser)
    parser.add_argument(
        "--save-clips", type=Path, metavar="DIR", help="save the sound of each event as a WAV file in this folder"
    )
    parser.add_argument(
        "--before",
        type=seconds,
        metavar="S",
        help=f"seconds before the word, or before its wake word, at which a clip begins (default: {BEFORE_SECONDS:g})",
    )
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
    """Listen until the source ends or the user does; 1 if a clip could not be saved."""
    lost: list[str] = []
    with _until_stopped():
        _listen(args, _device(args), lost)
    return 1 if lost else 0


def _device(args: argparse.Namespace) -> str | None:
    keywords = args.keyword or []
    if PIPE in keywords:  # `--keyword yes no -`: no word is called so
        keywords.remove(PIPE)
        args.place = args.place or PIPE
    if None not in (args.place, args.device):
        raise UsageError(f"two devices, '{args.place}' and '{args.device}'; give one")
    device: str | None = args.place if args.device is None else args.device
    if args.before and args.save_clips is None:
        raise UsageError("--before is for --save-clips: how much a clip holds before the word")
    if args.exec is not None and not args.exec.strip():
        raise UsageError("an empty command for --exec; give one to run")
    if device != PIPE and (args.rate or args.channels):
        raise UsageError("--rate and --channels are for DEVICE -; a microphone has its own")
    return device


def _listen(args: argparse.Namespace, device: str | None, lost: list[str]) -> None:
    words = load_words(args)
    for spotter in words.spotters:
        tell_learnable(spotter)

    def tell_lost(told: str) -> None:
        lost.append(told)
        warn(told)

    with log_shown(warn), open_source(device, args.rate, args.channels) as source:
        clips = Clips(args.save_clips, args.before or BEFORE_SECONDS, words.longest, source.sample_rate, tell_lost)
        streams, execute = Streams(words, source.sample_rate), Execute(args.exec, warn)
        status = Status(source.name, source.sample_rate, str(words))
        width = max(map(len, words.names))
        show = print_json if args.json else partial(_print_line, width=width)

        def tell_near_misses() -> None:
            for event in streams.near_misses():
                status.clear()
                say(f"{event.start:8.2f}  {event.keyword:<{width}}  {event.score:.4f} is below its threshold")

        def report(commands: list[Command]) -> None:
            for command in commands:
                fields = command_fields(command) | clips.save(command)
                status.clear()
                show(fields)
                status.draw()
                if words.is_command(command):
                    execute.start(fields)

        try:
            for block in source.blocks:
                clips.feed(block)
                report(streams.feed(block))
                if args.verbose:
                    tell_near_misses()
                status.hear(block)
                execute.reap()
            report(streams.flush())
            if args.verbose:
                tell_near_misses()
        finally:
            status.clear()
        if not streams.seconds:
            warn("there was no audio on standard input")
        execute.wait()


def _print_line(fields: dict[str, Any], width: int) -> None:
    wake = f"  after {fields['wake']['keyword']}" if "wake" in fields else ""
    print(f"{fields['start']:8.2f}  {fields['keyword']:<{width}}  {fields['score']:.2f}{wake}", flush=True)


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
