"""A run's log as a picture."""

from __future__ import annotations

import json
from pathlib import Path

LOSSES = ("pooled", "clips", "distillation", "utterances", "false_alarms", "paid", "lost", "blank")
FIGURES = ("accuracy", "picture_accuracy", "misses", "noisy_misses", "heard_clips", "heard_talk", "lost", "gained")


def plot_log(log: Path, picture: Path) -> None:
    """Losses and validation accuracies over the epochs of a JSON-lines log, as a PNG."""
    import matplotlib as mpl

    mpl.use("Agg")  # no display is needed
    from matplotlib import pyplot as plt

    lines = [json.loads(line) for line in log.read_text().splitlines()]
    figure, axes = plt.subplots(2, 1, figsize=(7, 7), sharex=True, layout="constrained")
    for axis, names, title in ((axes[0], LOSSES, "training loss"), (axes[1], FIGURES, "validation")):
        for name in names:
            points = [(line["epoch"], line[name]) for line in lines if name in line]
            if points:
                axis.plot(*zip(*points, strict=True), label=name, marker="." if len(points) < 3 else None)
        axis.set_title(title)
        axis.grid(alpha=0.3)
        if axis.lines:
            axis.legend()
    axes[0].set_yscale("log")
    axes[1].set_xlabel("epoch")
    temporary = picture.with_name(f"{picture.name}.tmp")
    figure.savefig(temporary, format="png", dpi=120)
    plt.close(figure)
    temporary.replace(picture)
