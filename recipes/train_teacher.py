"""Train a large network that hears whole clips, and keep what it thinks of each: train_kws.py --teacher learns from it.

    python recipes/train_teacher.py --data-dir speech_commands --run-dir runs/teacher
    python recipes/train_kws.py --data-dir speech_commands --teacher runs/teacher/posteriors.npz

What differs from train_kws.toml is in train_teacher.toml. A killed run goes on with --resume.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from lcspeech.card import FeatureSettings
from lcspeech.train import recipe
from lcspeech.train.distributed import rank
from lcspeech.train.settings import TrainSettings
from lcspeech.train.teacher import TeacherTrainer

SETTINGS = (Path(__file__).with_name("train_kws.toml"), Path(__file__).with_suffix(".toml"))


def run(args: argparse.Namespace, settings: TrainSettings, _: str) -> None:
    trainer = TeacherTrainer(recipe.corpus_of(args, settings), settings, FeatureSettings(), args.run_dir)
    recipe.train(trainer, args.resume)
    if rank() == 0:
        path = args.run_dir / "posteriors.npz"
        trainer.write_posteriors(path)
        print(f"wrote {path}, of a teacher that labels {100 * trainer.best['score']:.2f} % rightly")


def main(argv: list[str] | None = None) -> int:
    return recipe.main("train_teacher", run, recipe.arguments(__doc__, Path("runs/teacher"), *SETTINGS), SETTINGS, argv)


if __name__ == "__main__":
    sys.exit(main())
