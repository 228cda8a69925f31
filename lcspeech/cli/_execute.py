"""--exec: a shell command for each event, beside the audio and never in its way."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from typing import Any


class Execute:
    """Starts `command` (None: nothing) for each event, and tells `report` about those that fail."""

    def __init__(self, command: str | None, report: Callable[[str], None]) -> None:
        self._command, self._report = command, report
        self._running: list[subprocess.Popen[bytes]] = []

    def start(self, fields: dict[str, Any]) -> None:
        """Start the command with an event's fields in its environment. Its output goes to standard error."""
        if self._command is None:
            return
        try:
            process = subprocess.Popen(
                self._command, shell=True, env={**os.environ, **_variables(fields)}, stdin=subprocess.DEVNULL, stdout=2
            )
        except OSError as error:
            self._report(f"cannot start the command of --exec ({error.strerror})")
        else:
            self._running.append(process)

    def reap(self) -> None:
        """See which commands have ended; does not wait."""
        for process in self._running[:]:
            if (code := process.poll()) is not None:
                self._running.remove(process)
                self._check(code)

    def wait(self) -> None:
        """Wait for the commands that still run."""
        while self._running:
            code = self._running[0].wait()
            del self._running[0]
            self._check(code)

    def _check(self, code: int) -> None:
        if code:
            ending = f"exit code {code}" if code > 0 else f"signal {-code}"
            self._report(f"the command of --exec ended with {ending}: {self._command}")


def _variables(fields: dict[str, Any], prefix: str = "LCSPEECH_") -> dict[str, str]:
    """Fields as variables of the environment; those inside another carry its name too."""
    variables: dict[str, str] = {}
    for name, value in fields.items():
        variable = prefix + name.upper()
        variables |= _variables(value, f"{variable}_") if isinstance(value, dict) else {variable: str(value)}
    return variables
