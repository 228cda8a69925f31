"""``python -m lcspeech`` as a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from typing import IO, Any

TIMEOUT = 60  # seconds


def lcspeech(*arguments: object) -> list[str]:
    """The command line of ``lcspeech`` with these arguments."""
    return [sys.executable, "-m", "lcspeech", *map(str, arguments)]


def run(*arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run it to its end, with its output as text. A terminal is never its input."""
    options = {"stdin": subprocess.DEVNULL, **options} if "input" not in options else options
    return subprocess.run(  # noqa: PLW1510 - among the options
        lcspeech(*arguments), **{"capture_output": True, "text": True, "timeout": TIMEOUT, "check": False, **options}
    )


def start(*arguments: object, env: Mapping[str, str] | None = None, stdin: int | IO[Any] | None = None) -> Any:
    """Start it, with pipes of bytes to talk to it."""
    return subprocess.Popen(
        lcspeech(*arguments),
        stdin=subprocess.PIPE if stdin is None else stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, **(env or {})},
    )


def python(program: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a program of one string."""
    command = [sys.executable, "-c", program, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)
