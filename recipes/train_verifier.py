"""Fit a verifier to a trained network, which stays as it is, and install the model with it under pretrained/.

    python recipes/train_verifier.py --checkpoint pretrained/commands-tiny.pt --data-dir speech_commands \\
        --librispeech-dir librispeech/train-clean-5 --noise-dir noise

train_kws.py ends with the same. The verifier is written into the checkpoint.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

from lcspeech.card import FeatureSettings
from lcspeech.errors import UsageError
from lcspeech.train import recipe
from lcspeech.train.batches import Batches
from lcspeech.train.data import read_validation
from lcspeech.train.distributed import processes
from lcspeech.train.install import install
from lcspeech.train.loop import check_settings, read_checkpoint
from lcspeech.train.settings import TrainSettings
from lcspeech.train.verifier import add_verifier

SETTINGS = Path(__file__).with_name("train_kws.toml")


def run(args: argparse.Namespace, settings: TrainSettings, command: str) -> None:
    if processes() > 1:
        raise UsageError("a verifier is fitted by one process; start it without torchrun")
    if not settings.verifier_hours:
        raise UsageError("a verifier is fitted to --verifier-hours of streams; give more than 0")
    features = FeatureSettings()
    _, card = read_checkpoint(args.checkpoint, features)
    check_settings(args.checkpoint, settings)
    corpus = recipe.corpus_of(args, settings)
    torch.set_num_threads(settings.threads)
    add_verifier(args.checkpoint, Batches(corpus, settings, features, torch.Generator()), features, corpus.words)
    validation = read_validation(args.data_dir, args.librispeech_dir, args.noise_dir, settings.validation_speakers)
    folder = args.install_dir / card.name
    metrics = install(args.checkpoint, folder, settings, corpus.amounts(), validation, command)
    print(f"installed {folder}: {100 * metrics['stream_recall']['accuracy']:.1f} % of the words found in a stream")


def main(argv: list[str] | None = None) -> int:
    parser = recipe.arguments(__doc__, Path("runs/train_verifier"), SETTINGS)
    parser.add_argument("--checkpoint", type=Path, required=True, help="of the network, which gets the verifier")
    parser.add_argument("--install-dir", type=Path, default=Path("pretrained"), help="where the model's folder goes")
    return recipe.main("train_verifier", run, parser, (SETTINGS,), argv)


if __name__ == "__main__":
    sys.exit(main())
