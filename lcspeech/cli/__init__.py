"""The command line: ``lcspeech COMMAND``.

Exit codes: 0 done (also when the reader of the output went away, and when `listen` is stopped), 1 something failed,
2 wrong usage, 130 interrupted. Errors are one line on standard error.
"""

from __future__ import annotations

import argparse
import io
import sys

from lcspeech import __version__
from lcspeech.cli import bench, calibrate, devices, doctor, enroll, eval, export, listen, models, spot, verify
from lcspeech.cli._output import complain, discard_stdout
from lcspeech.errors import LcspeechError, UsageError

COMMANDS = (listen, spot, enroll, calibrate, models, devices, doctor, verify, eval, bench, export)


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the arguments; `run` among them is the function of the command."""
    parser = argparse.ArgumentParser(prog="lcspeech", description="Streaming keyword spotting on one CPU core.")
    parser.add_argument("--version", action="version", version=f"lcspeech {__version__}")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in COMMANDS:
        command.add_parser(subparsers)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Run a command; returns its exit code, and raises nothing that a user could cause."""
    try:
        if sys.stdout is None:  # closed by the caller: Python would drop all output without a word
            raise OSError("standard output is closed")
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")  # a file may have any name
        code = _run(argv)
        sys.stdout.flush()
    except BrokenPipeError:  # `| head -1` has seen enough
        discard_stdout()
        return 0
    except KeyboardInterrupt:
        return 130
    except LcspeechError as error:
        complain("error", error)
        return 2 if isinstance(error, UsageError) else 1
    except OSError as error:
        complain("error", error)
        discard_stdout()
        return 1
    return code


def _run(argv: list[str] | None) -> int:
    try:
        args = parse_args(argv)
    except SystemExit as stop:  # argparse, after --help, --version or an error of usage
        return int(stop.code or 0)
    return int(args.run(args))
