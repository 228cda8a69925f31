"""``lcspeech spot``: events in files, printed as they are found."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lcspeech.cli._options import WholeNumber, add_spotter_options, load_spotter
from lcspeech.cli._output import complain, event_fields, print_json
from lcspeech.cli._progress import Progress, progress
from lcspeech.errors import AudioError, UsageError

if TYPE_CHECKING:
    from lcspeech.cli._options import Subparsers
    from lcspeech.spotter import Spotter
    from lcspeech.trigger import Event

    Show = Callable[[Path, Event], None]

MOST_WORKERS = 256
WIDEST = 40  # characters for file names to line up; longer ones stand out


def add_parser(subparsers: Subparsers) -> None:
    """Add this command."""
    parser = subparsers.add_parser(
        "spot",
        help="spot keywords in files",
        description="Spot keywords in audio files, one line per event: file, start and end in seconds, keyword, score.",
        epilog="A file that cannot be read does not stop the others; the exit code is 1 then.",
    )
    parser.add_argument("files", nargs="*", metavar="FILE", help="audio, or a directory that holds some")
    add_spotter_options(parser)
    parser.add_argument(
        "--workers",
        type=WholeNumber(1, MOST_WORKERS, "processes"),
        default=1,
        metavar="N",
        help="spot so many files at a time, each on a core of its own (default: 1)",
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="one JSON object per event: file, keyword, start, end, score")
    form.add_argument("--labels", choices=["audacity"], help="a label track, of one file")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Spot all files; 1 if one of them could not be read."""
    if not args.files:
        raise UsageError("no FILE; give files or directories, before --keyword or after --")
    if "-" in args.files:
        raise UsageError("'-' is no file; for audio on standard input use 'lcspeech listen -'")
    files, failed = _find(args.files)
    if args.labels and len(files) > 1:
        raise UsageError(f"a label track is of one file, and these are {len(files)}; run 'lcspeech spot' for each")
    spotter = load_spotter(args)
    show = _show(args, files, max(len(keyword.name) for keyword in spotter.keywords))
    with progress(files) as bar:
        if min(args.workers, len(files)) > 1:
            failed |= _spot_side_by_side(spotter, args.workers, files, bar, show)
        else:
            failed |= _spot_in_turn(spotter, files, bar, show)
    return 1 if failed else 0


def _spot_in_turn(spotter: Spotter, files: Sequence[Path], bar: Progress, show: Show) -> bool:
    """Show events as they are found; whether a file could not be read."""
    failed = False
    for file in files:
        try:
            for event in _events(spotter, file, bar):
                with bar.paused():
                    show(file, event)
        except AudioError as error:
            failed = True
            with bar.paused():
                complain("error", error)
    return failed


def _spot_side_by_side(spotter: Spotter, workers: int, files: Sequence[Path], bar: Progress, show: Show) -> bool:
    """The same in several processes: a file's events when it and those before it are done."""
    from lcspeech.cli._workers import spot_file
    from lcspeech.evaluation.parallel import in_workers

    failed = False
    with in_workers(spot_file, files, spotter, workers) as results:
        for file, spotted in zip(files, results, strict=True):
            bar.advance(spotted.seconds)
            with bar.paused():
                for event in spotted.events:
                    show(file, event)
                if spotted.error is not None:
                    failed = True
                    complain("error", spotted.error)
    return failed


def _find(paths: Sequence[str]) -> tuple[list[Path], bool]:
    """The audio files, and whether a directory held none."""
    from lcspeech.audio import find_audio

    files: list[Path] = []
    failed = False
    for path in paths:
        try:
            files += find_audio([path])
        except AudioError as error:
            failed = True
            complain("error", error)
    return files, failed


def _events(spotter: Spotter, file: Path, bar: Progress) -> Iterator[Event]:
    """Events of one file, streamed from disk; where it is damaged, those before it still come."""
    from lcspeech.audio import read_blocks

    with spotter.stream() as stream:
        try:
            for block in read_blocks(file, stream.sample_rate):
                yield from stream.feed(block)
                bar.advance(len(block) / stream.sample_rate)
        except AudioError:
            yield from stream.flush()
            raise
        yield from stream.flush()


def _show(args: argparse.Namespace, files: Sequence[Path], word_width: int) -> Show:
    """The function that prints an event in the form asked for."""
    if args.json:
        return lambda file, event: print_json({"file": str(file), **event_fields(event)})
    if args.labels:
        return lambda _, event: print(f"{event.start:.6f}\t{event.end:.6f}\t{event.keyword}", flush=True)
    width = min(WIDEST, max((len(str(file)) for file in files), default=0))

    def show(file: Path, event: Event) -> None:
        times = f"{event.start:9.2f} {event.end:9.2f}"
        print(f"{file!s:<{width}} {times}  {event.keyword:<{word_width}}  {event.score:.2f}", flush=True)

    return show
