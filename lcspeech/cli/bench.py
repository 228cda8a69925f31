"""``lcspeech bench``: what models cost on this machine, beside other packages that are installed."""

from __future__ import annotations

import argparse
import dataclasses
from typing import TYPE_CHECKING

from lcspeech.cli._output import print_json, say

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from lcspeech.cli._options import Subparsers
    from lcspeech.evaluation.speed import Bench, ModelSpeed

SIGNAL_SECONDS = 60.0


def add_parser(subparsers: Subparsers) -> None:
    """Add this command."""
    parser = subparsers.add_parser(
        "bench",
        help="measure models on this machine",
        description="Measure what models cost on this machine, on one core. Let it do nothing else meanwhile.",
        epilog="Other packages that are installed are measured too: pip install 'lcspeech[bench]'",
    )
    parser.add_argument(
        "--model", nargs="+", metavar="M", help="shipped models, models' folders or .onnx files (default: all shipped)"
    )
    parser.add_argument("--file", metavar="FILE", help="audio to measure with (default: a generated signal)")
    parser.add_argument("--json", action="store_true", help="one JSON object, nothing else")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Measure, which takes a minute for each model, and print the figures."""
    from lcspeech.evaluation.peers import installed
    from lcspeech.evaluation.speed import bench
    from lcspeech.pretrained import models

    names = args.model or list(models()) or [None]
    say(f"lcspeech: measuring {len(names)} models, about a minute each; keep the machine quiet")
    figures = bench(names, _speech(args.file), installed())
    if args.json:
        print_json(dataclasses.asdict(figures))
    else:
        _print_tables(figures)
    return 0


def _speech(file: str | None) -> NDArray[np.float32]:
    from lcspeech.evaluation.speed import SPEECH_RATE

    if file is None:
        from lcspeech.cli.verify import generated

        return generated(SPEECH_RATE, SIGNAL_SECONDS)
    import numpy as np

    from lcspeech.audio import read_blocks

    speech = np.concatenate(list(read_blocks(file, SPEECH_RATE)))
    return np.resize(speech, max(len(speech), SPEECH_RATE))  # a second at least


def _print_tables(figures: Bench) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    table = Table("", *(model.model for model in figures.models), title=f"{figures.machine}, {figures.date}")
    for title, *cells in zip(*(_rows(model) for model in figures.models), strict=True):
        table.add_row(title[0], *(cell[1] for cell in (title, *cells)))
    console.print(table)
    if not figures.peers:
        return
    peers = Table("package", "version", "keyword", "% of a core, 80 ms blocks", title="on the same audio, in turns")
    for peer in figures.peers:
        cost = peer.error if peer.percent_of_a_core is None else f"{peer.percent_of_a_core:.2f}"
        peers.add_row(peer.package, peer.version, peer.keyword, cost)
    console.print(peers)


def _rows(model: ModelSpeed) -> list[tuple[str, str]]:
    live = [
        (
            f"% of a core, {1000 * cost.block_seconds:.0f} ms blocks: all (front end + encoder + search)",
            f"{cost.total:.2f} ({cost.front_end:.2f} + {cost.encoder:.2f} + {cost.search:.2f})",
        )
        for cost in model.live
    ]
    rates = [
        (f"% of a core, microphone at {rate}, 40 ms blocks", f"{percent:.2f}")
        for rate, percent in model.live_percent_of_a_core.items()
    ]
    return [
        *live,
        *rates,
        ("twenty typed keywords, times one", f"{model.twenty_keywords:.2f}"),
        (
            "twenty learned ones, times one typed",
            "-" if model.twenty_learned is None else f"{model.twenty_learned:.2f}",
        ),
        (f"ms per step of {1000 * model.step_seconds:.0f} ms: median", f"{model.step_median_ms:.2f}"),
        ("ms per step: 99 of 100 take at most", f"{model.step_p99_ms:.2f}"),
        ("file of 10 minutes, times real time", f"{model.spot_file_times_real_time:.0f}"),
        ("cold start to the end of a one-second file, s", f"{model.spot_one_second_clip_s:.2f}"),
        ("peak memory of that, MB", "?" if model.peak_memory_mb is None else f"{model.peak_memory_mb:.0f}"),
        ("model file, kB", f"{model.file_bytes / 1000:.0f}"),
        ("parameters", f"{model.parameters:,}"),
        ("MACs per second of audio", f"{model.macs_per_second:,}" if model.macs_per_second else "not counted"),
    ]
