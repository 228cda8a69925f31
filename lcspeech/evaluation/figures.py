"""Files of figures: what was measured, when, and by which command. What the recipes that measure share."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lcspeech import pretrained
from lcspeech.errors import LcspeechError, UsageError

Made = dict[str, str]


def main(
    name: str,
    measure: Callable[[argparse.Namespace, Made], None],
    parser: argparse.ArgumentParser,
    argv: list[str] | None,
) -> int:
    """Parse, then `measure(args, made)`; what goes wrong is one line, and the exit status.

    `made` is the beginning of what is to be written: the date, and the command to type to measure the same again. An
    `args.output` that is no place for a file is told before anything is measured.
    """
    args = parser.parse_args(argv)
    command = shlex.join(["python", f"recipes/{name}.py", *(sys.argv[1:] if argv is None else argv)])
    try:
        check_output(getattr(args, "output", None))
        measure(args, {"date": today(), "command": command})
    except (LcspeechError, OSError) as error:
        print(f"{name}: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"{name}: stopped", file=sys.stderr)
        return 130
    return 0


def check_output(output: Path | None) -> None:
    """See now, before hours of work, that there is a place for a file.

    Raises:
        UsageError: if there is none.
    """
    if output and not output.absolute().parent.is_dir():
        raise UsageError(f"no folder '{output.parent}' to write '{output.name}' into; make it")
    if output and output.is_dir():
        raise UsageError(f"'{output}' is a folder; give the name of a file")


def today() -> str:
    return datetime.now(UTC).date().isoformat()


def write(path: Path, figures: Mapping[str, Any]) -> str:
    """Write them as JSON, which is returned, and the checksums anew if it is a model's folder that they are in."""
    text = json.dumps(figures, indent=1) + "\n"
    pretrained.write(path, text.encode())
    if (path.parent / pretrained.CARD).exists():
        pretrained.write_checksums(path.parent)
    return text
