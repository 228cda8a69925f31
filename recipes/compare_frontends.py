"""Train one CRNN with several front ends on the same clips, steps and seeds, and show what each is worth and costs.

    python recipes/compare_frontends.py --data-dir speech_commands --run-dir runs/frontends
    python recipes/compare_frontends.py --data-dir speech_commands --run-dir runs/frontends --ablation

MobileNetV2 and ShuffleNetV2 are torchvision's, as wide as makes them as large as PP-LCNet tiny and base; an ablation
changes PP-LCNet tiny. Needs: pip install 'lcspeech[compare]'. What differs from train_kws.toml is in
compare_frontends.toml. A killed run goes on with --resume, and networks that are done are not trained again then.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lcspeech import UsageError
from lcspeech.card import FeatureSettings
from lcspeech.evaluation import figures
from lcspeech.evaluation.speed import processor
from lcspeech.train import recipe
from lcspeech.train.clips import ClipTrainer
from lcspeech.train.compare import clips_per_second
from lcspeech.train.distributed import rank
from lcspeech.train.export import count_macs
from lcspeech.train.frontends import Variant, mobilenet_v2, pplcnet, shufflenet_v2, size, width_for
from lcspeech.train.run import CHECKPOINT
from lcspeech.train.settings import TrainSettings

SETTINGS = (Path(__file__).with_name("train_kws.toml"), Path(__file__).with_suffix(".toml"))
BANDS = FeatureSettings().n_mels
TINY, BASE = 0.25, 0.35
Trunk = Callable[[], nn.Module]


def as_large_as(build: Callable[[float], nn.Sequential], scale: float) -> Trunk:
    return lambda: build(width_for(build, size(pplcnet(scale, BANDS))))


FRONT_ENDS: dict[str, Trunk] = {
    "PP-LCNet tiny": partial(pplcnet, TINY, BANDS),
    "MobileNetV2, as large": as_large_as(mobilenet_v2, TINY),
    "ShuffleNetV2, as large": as_large_as(shufflenet_v2, TINY),
    "PP-LCNet base": partial(pplcnet, BASE, BANDS),
    "MobileNetV2, as large as base": as_large_as(mobilenet_v2, BASE),
    "ShuffleNetV2, as large as base": as_large_as(shufflenet_v2, BASE),
}
CHANGES: dict[str, Variant] = {
    "no SE": Variant(se="none"),
    "SE in all blocks": Variant(se="all"),
    "SE after the pointwise convolution": Variant(se_last=True),
    "ReLU": Variant(activation=nn.ReLU),
    "3x3 in the tail": Variant(tail_kernel=3),
    "two groups and a linear mix": Variant(groups=2),
    "sub-spectral norm": Variant(sub_bands=5),
    "no shortcuts": Variant(shortcut=False),
}
GRUS = (64, 192)


def rows(ablation: bool, settings: TrainSettings) -> dict[str, tuple[Trunk, TrainSettings]]:
    if not ablation:
        return {name: (trunk, settings) for name, trunk in FRONT_ENDS.items()}
    tiny = FRONT_ENDS["PP-LCNet tiny"]
    changed = {name: (partial(pplcnet, TINY, BANDS, variant), settings) for name, variant in CHANGES.items()}
    grus = {f"GRU of {width}": (tiny, dataclasses.replace(settings, hidden=width)) for width in GRUS}
    return {"PP-LCNet tiny": (tiny, settings), **changed, **grus}


def run(args: argparse.Namespace, settings: TrainSettings, command: str) -> None:
    lines = rows(args.ablation, settings)
    if others := [name for name in args.only or () if name not in lines]:
        raise UsageError(f"'{others[0]}' is no line of this table; --ablation makes the other")
    chosen = {name: row for name, row in lines.items() if not args.only or name in args.only}
    corpus, features = recipe.corpus_of(args, settings), FeatureSettings()
    table, networks = list[dict[str, Any]](), list[nn.Module]()
    for name, (trunk, own) in chosen.items():
        accuracies = []
        for seed in args.seeds:
            folder = args.run_dir / f"{name.replace(' ', '_')}-{seed}"
            trainer = ClipTrainer(corpus, dataclasses.replace(own, seed=seed), features, folder, trunk)
            recipe.train(trainer, args.resume and (folder / CHECKPOINT).exists())
            accuracies.append(trainer.best["score"])
        networks.append(trainer.averaged().cpu())
        macs = count_macs(networks[-1], torch.zeros(1, settings.segment_frames, BANDS))
        counted = {"parameters": size(networks[-1]), "macs_per_clip": macs}
        table.append({"front_end": name, "accuracy": accuracies, **counted})
    speeds = clips_per_second(networks, settings.segment_frames, BANDS)
    print(f"{'':36} accuracy  parameters  MMACs  clips/s")
    for row, speed in zip(table, speeds, strict=True):
        row |= {"clips_per_second": round(speed, 1), "times_first": round(speed / speeds[0], 3)}
        mean, millions = 100 * statistics.mean(row["accuracy"]), row["macs_per_clip"] / 1e6
        print(f"{row['front_end']:36} {mean:6.2f} %  {row['parameters']:10,} {millions:6.1f} {speed:8.1f}")
    if rank() == 0:  # which alone knows them
        made = {"command": command, "date": figures.today(), "machine": processor()}
        figures.write(args.output, {**made, "rows": table})


def main(argv: list[str] | None = None) -> int:
    parser = recipe.arguments(__doc__, Path("runs/frontends"), *SETTINGS)
    parser.add_argument("--ablation", action="store_true", help="changes of PP-LCNet tiny instead of other front ends")
    lines = [*FRONT_ENDS, *CHANGES, *(f"GRU of {width}" for width in GRUS)]
    parser.add_argument(
        "--only", nargs="+", choices=lines, metavar="LINE", help=f"of {', '.join(lines)} (default: all)"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[1], help="one training each (default: 1)")
    parser.add_argument("--output", type=Path, default=Path("frontends.json"), help="where the figures go")
    return recipe.main("compare_frontends", run, parser, SETTINGS, argv)


if __name__ == "__main__":
    sys.exit(main())
