"""The status line of `listen`, and the progress bar of `spot`: on a terminal, and nowhere else."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile

from lcspeech.cli._status import Status, meter
from tests.cli.conftest import RATE, Recording
from tests.cli.process import TIMEOUT, lcspeech, run


@pytest.mark.parametrize(
    ("power", "shown"),
    [
        (1.0, "[####################]    0 dBFS"),
        (0.1, "[#################...]  -10 dBFS"),
        (1e-3, "[##########..........]  -30 dBFS"),
        (1e-6, "[....................]  -60 dBFS"),
        (1e-12, "[....................]  -99 dBFS"),
        (0.0, "[....................]  -99 dBFS"),
        (4.0, "[####################]    6 dBFS"),
    ],
)
def test_the_meter_shows_the_level(power: float, shown: str) -> None:
    assert meter(power) == shown


def test_elsewhere_than_on_a_terminal_it_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    status = Status("Headset", 44_100, "yes, no")
    for _ in range(100):
        status.hear(np.ones(4_410, np.float32))
    status.clear()
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err == "lcspeech: Headset, 44100 Hz, waiting for yes, no\n"


def on_terminal(*arguments: object, samples: bytes = b"") -> tuple[str, str]:
    """What a command writes to standard output, and to a terminal as its standard error."""
    controller, terminal = os.openpty()
    with subprocess.Popen(
        lcspeech(*arguments),
        stdin=subprocess.PIPE if samples else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=terminal,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "100"},
    ) as process:
        os.close(terminal)
        output, _ = process.communicate(samples or None, timeout=TIMEOUT)
    shown = b""
    while True:
        try:
            piece = os.read(controller, 65_536)
        except OSError:  # the terminal's end
            break
        if not piece:
            break
        shown += piece
    os.close(controller)
    return output.decode(), shown.decode()


def test_on_a_terminal_the_line_follows_the_level_and_is_taken_away(recording: Recording) -> None:
    output, shown = on_terminal("listen", "-", "--json", samples=recording.samples[: 5 * RATE].tobytes())
    levels = re.findall(r"\[#*\.*\] +-?\d+ dBFS  standard input, 16000 Hz, waiting for", shown)
    assert len(levels) >= 40  # ten a second
    assert len(set(levels)) > 5
    assert shown.split("\r")[-2].strip() == ""  # the last thing is an empty line
    assert output.count("{") == output.count("\n")


@pytest.mark.parametrize(
    ("keyword", "learned"),
    [("hey computer", "'hey computer'"), ("nadya=N AA D Y AH", "'nadya=N AA D Y AH'"), ("yes", "")],
)
def test_who_types_a_word_is_told_how_it_is_learned(keyword: str, learned: str) -> None:
    _, shown = on_terminal("listen", "-", "--model", "open", "--keyword", keyword, samples=bytes(2 * RATE))
    hint = f"learned, which takes a minute, it is found more often: lcspeech enroll {learned} --voices"
    assert (hint in shown) == ("more often" in shown) == bool(learned)


def test_long_audio_has_a_progress_bar_on_a_terminal_only(tmp_path: Path) -> None:
    path = tmp_path / "long.wav"
    soundfile.write(path, np.zeros(120 * RATE, np.int16), RATE)
    output, shown = on_terminal("spot", path)
    assert output == ""
    assert "spotting" in shown
    assert "100%" in shown or "%" in shown
    assert run("spot", path).stderr == ""


def test_short_audio_has_none(tmp_path: Path) -> None:
    path = tmp_path / "short.wav"
    soundfile.write(path, np.zeros(RATE, np.int16), RATE)
    assert on_terminal("spot", path) == ("", "")
