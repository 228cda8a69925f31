"""What the commands print: events on standard output, everything else on standard error."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lcspeech.chain import Command
    from lcspeech.trigger import Event

TIME_DIGITS, SCORE_DIGITS = 3, 4  # a millisecond is far below a frame, a ten-thousandth below what a score can tell


def complain(kind: str, message: object) -> None:
    """One line on standard error, if there is one; `kind` is "error" or "warning"."""
    if sys.stderr is not None:
        with contextlib.suppress(OSError):
            print(f"lcspeech: {kind}:", " ".join(str(message).splitlines()), file=sys.stderr, flush=True)


def say(message: str) -> None:
    """A line of information on standard error, if there is one."""
    if sys.stderr is not None:
        with contextlib.suppress(OSError):
            print(message, file=sys.stderr, flush=True)


def on_terminal() -> bool:
    """Whether someone watches standard error."""
    return sys.stderr is not None and sys.stderr.isatty()


def event_fields(event: Event) -> dict[str, Any]:
    """An event for JSON: times in seconds, the score a probability."""
    return {
        "keyword": event.keyword,
        "start": round(event.start, TIME_DIGITS),
        "end": round(event.end, TIME_DIGITS),
        "score": round(event.score, SCORE_DIGITS),
    }


def command_fields(command: Command) -> dict[str, Any]:
    """Those of its event; if there was a wake word, that too."""
    wake = {} if command.wake is None else {"wake": event_fields(command.wake)}
    return event_fields(command.event) | wake


@contextlib.contextmanager
def log_shown(show: Callable[[str], None]) -> Iterator[None]:
    """Give what the library warns of to `show`."""

    class Shown(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            show(record.getMessage())

    handler = Shown(logging.WARNING)
    logger = logging.getLogger("lcspeech")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


def print_json(fields: dict[str, Any]) -> None:
    """One object on one line, at once."""
    print(json.dumps(fields), flush=True)


def discard_stdout() -> None:
    """Send what is still buffered nowhere, so that the interpreter does not fail over it when it ends."""
    with contextlib.suppress(OSError, ValueError, AttributeError):  # no stream, or one that is no file
        descriptor = sys.stdout.fileno()
        sink = os.open(os.devnull, os.O_WRONLY)
        os.dup2(sink, descriptor)
        os.close(sink)
