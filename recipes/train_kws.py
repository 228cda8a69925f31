"""Train a keyword spotter on Speech Commands, export it, evaluate it and install its folder under pretrained/.

    python recipes/train_kws.py --data-dir speech_commands --run-dir runs/tiny
    torchrun --nproc-per-node 2 recipes/train_kws.py --data-dir speech_commands  # two processes share each batch

The knobs and what they mean are in train_kws.toml; each is a flag here too. A killed run goes on with --resume.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from pathlib import Path

import torch

from lcspeech.card import FeatureSettings
from lcspeech.errors import UsageError
from lcspeech.train import recipe
from lcspeech.train.batches import Batches
from lcspeech.train.data import read_validation
from lcspeech.train.distributed import rank
from lcspeech.train.install import install
from lcspeech.train.loop import Trainer, read_checkpoint
from lcspeech.train.run import CHECKPOINT
from lcspeech.train.settings import TrainSettings
from lcspeech.train.splice import with_spliced
from lcspeech.train.teacher import posteriors_of
from lcspeech.train.verifier import add_verifier

SETTINGS = Path(__file__).with_suffix(".toml")


def run(args: argparse.Namespace, settings: TrainSettings, command: str) -> None:
    features = FeatureSettings()
    if args.aligner and not settings.spliced:
        raise UsageError("--aligner finds the words of --spliced utterances; say how many, or leave it out")
    begun = read_checkpoint(args.init, features) if args.init else None
    corpus = recipe.corpus_of(args, settings)
    if begun:  # what it was trained on, the new network is, too
        corpus = dataclasses.replace(corpus, sources=tuple(dict.fromkeys((*corpus.sources, *begun[1].data))))
    if settings.spliced:
        aligner = args.aligner or args.init
        network = read_checkpoint(aligner, features)[0] if aligner else None
        corpus = with_spliced(corpus, network, settings.spliced, features, settings.seed)
    teacher = posteriors_of(args.teacher, corpus, features) if args.teacher else None
    trainer = Trainer(corpus, settings, features, args.run_dir, teacher)
    if begun:
        trainer.start_from(begun[0])
    recipe.train(trainer, args.resume)
    if rank() != 0:
        return  # one process installs
    folder, checkpoint = args.install_dir / settings.name, args.run_dir / CHECKPOINT
    if settings.verifier_hours:
        add_verifier(checkpoint, Batches(corpus, settings, features, torch.Generator()), features, corpus.words)
    validation = read_validation(args.data_dir, args.librispeech_dir, args.noise_dir, settings.validation_speakers)
    metrics = install(checkpoint, folder, settings, corpus.amounts(), validation, command)
    print(f"installed {folder}: {100 * metrics['clips']['accuracy']:.2f} % of {metrics['clips']['total']} clips")


def main(argv: list[str] | None = None) -> int:
    parser = recipe.arguments(__doc__, Path("runs/train_kws"), SETTINGS)
    helped = "to learn from too, their mean: posteriors.npz of train_teacher.py, or a trained spotter's checkpoint.pt"
    parser.add_argument("--teacher", type=Path, nargs="+", metavar="FILE", help=helped)
    parser.add_argument("--init", type=Path, help="checkpoint of a trained network whose weights to start from")
    helped = "checkpoint of the network that finds the words of 'spliced' utterances (default: that of --init)"
    parser.add_argument("--aligner", type=Path, metavar="FILE", help=helped)
    parser.add_argument("--install-dir", type=Path, default=Path("pretrained"), help="where the model's folder goes")
    return recipe.main("train_kws", run, parser, (SETTINGS,), argv)


if __name__ == "__main__":
    sys.exit(main())
