"""Progress bars on standard error: only on a terminal, and only for what takes a while."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lcspeech.cli._output import on_terminal
from lcspeech.errors import LcspeechError

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

WORTH_SECONDS = 30.0  # of audio; less is done before a bar could be read


class Progress:
    """Counts what is done; `paused` takes the bar away while something is printed."""

    def __init__(self, bar: Bar | None = None, task: str = "", total: float = 0.0) -> None:
        """Without a `bar` nothing is shown."""
        self._bar = bar
        self._task = bar.add_task(task, total=total) if bar else None

    def advance(self, amount: float) -> None:
        """So much more is done."""
        if self._bar is not None and self._task is not None:
            self._bar.advance(self._task, amount)

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Without the bar, which would share the terminal's last line with the output."""
        if self._bar is None:
            yield
            return
        self._bar.stop()
        try:
            yield
        finally:
            self._bar.start()


@contextlib.contextmanager
def progress(files: Sequence[Path]) -> Iterator[Progress]:
    """A bar of seconds for `files`, if they are long."""
    total = _seconds(files) if on_terminal() else 0.0
    with bar_of("spotting", total if total >= WORTH_SECONDS else 0.0) as bar:
        yield bar


@contextlib.contextmanager
def bar_of(task: str, total: float) -> Iterator[Progress]:
    """A bar up to `total`, if someone watches; of nothing there is none."""
    if not total or not on_terminal():
        yield Progress()
        return
    from rich.console import Console
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Bar(*columns, console=console, transient=True, redirect_stdout=False, redirect_stderr=False) as bar:
        yield Progress(bar, task, total)


def _seconds(files: Sequence[Path]) -> float:
    from lcspeech.audio import duration

    total = 0.0
    for file in files:
        with contextlib.suppress(LcspeechError, OSError):  # reported when it is the file's turn
            total += (duration(file) or 0.0) if file.is_file() else 0.0  # a pipe can be opened only once
    return total
