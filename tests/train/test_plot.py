"""The plot of a run's log."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("matplotlib")

from lcspeech.train.plot import plot_log

LINES = [
    {"epoch": 1, "seconds": 3.0, "pooled": 3.2, "accuracy": 0.1},
    {"epoch": 2, "seconds": 3.0, "pooled": 2.5, "clips": 9.0, "accuracy": 0.5, "picture_accuracy": 0.4},
    {"epoch": 3, "seconds": 3.0, "pooled": 2.0, "clips": 5.0, "accuracy": 0.7, "picture_accuracy": 0.6},
]


@pytest.mark.parametrize(("epochs", "lines"), [(1, (1, 1)), (3, (2, 2))])
def test_losses_and_accuracies_are_drawn(
    epochs: int, lines: tuple[int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import matplotlib.pyplot as plt

    log, picture = tmp_path / "log.jsonl", tmp_path / "log.png"
    log.write_text("".join(json.dumps(line) + "\n" for line in LINES[:epochs]))
    drawn: list[Any] = []
    monkeypatch.setattr(plt, "close", drawn.append)
    plot_log(log, picture)
    monkeypatch.undo()
    (figure,) = drawn
    losses, accuracies = figure.axes
    assert (len(losses.lines), len(accuracies.lines)) == lines
    assert losses.lines[0].get_label() == "pooled"
    assert list(losses.lines[0].get_ydata()) == [line["pooled"] for line in LINES[:epochs]]
    assert list(accuracies.lines[-1].get_xdata()) == [1] if epochs == 1 else [2, 3]
    plt.close(figure)
    assert picture.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    assert {path.name for path in tmp_path.iterdir()} == {"log.jsonl", "log.png"}


@pytest.mark.filterwarnings("error")
def test_what_has_no_figures_is_an_empty_plot(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text('{"epoch": 1, "paid": 0.5}\n')
    plot_log(tmp_path / "log.jsonl", tmp_path / "log.png")
    assert (tmp_path / "log.png").exists()
