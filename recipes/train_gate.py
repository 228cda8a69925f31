"""Train a gate in front of a trained network, so that it rests in silence and in the middle of sentences.

    python recipes/train_gate.py --behind pretrained/commands.pt --data-dir speech_commands \\
        --librispeech-dir librispeech/train-clean-5 --noise-dir noise

It installs, calibrates and measures the dynamic model under pretrained/. What differs from train_kws.toml is in
train_gate.toml. A killed run goes on with --resume.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from lcspeech.card import FeatureSettings
from lcspeech.train import recipe
from lcspeech.train.data import read_validation
from lcspeech.train.distributed import rank
from lcspeech.train.gate import GateTrainer
from lcspeech.train.install import install
from lcspeech.train.loop import check_settings, read_checkpoint
from lcspeech.train.settings import TrainSettings

SETTINGS = (Path(__file__).with_name("train_kws.toml"), Path(__file__).with_suffix(".toml"))


def run(args: argparse.Namespace, settings: TrainSettings, command: str) -> None:
    features = FeatureSettings()
    behind, _ = read_checkpoint(args.behind, features)
    check_settings(args.behind, settings)
    corpus = recipe.corpus_of(args, settings)
    trainer = GateTrainer(corpus, settings, features, args.run_dir, behind)
    recipe.train(trainer, args.resume)
    if rank() != 0:
        return
    validation = read_validation(args.data_dir, args.librispeech_dir, args.noise_dir, settings.validation_speakers)
    folder, gate = args.install_dir / settings.name, trainer.averaged(best=True).cpu()
    metrics = install(args.behind, folder, settings, corpus.amounts(), validation, command, gate=gate)
    print(f"installed {folder}: {100 * metrics['stream_recall']['accuracy']:.1f} % of the words found in a stream")


def main(argv: list[str] | None = None) -> int:
    parser = recipe.arguments(__doc__, Path("runs/train_gate"), *SETTINGS)
    parser.add_argument("--behind", type=Path, required=True, help="checkpoint of the network that it is in front of")
    parser.add_argument("--install-dir", type=Path, default=Path("pretrained"), help="where the model's folder goes")
    return recipe.main("train_gate", run, parser, SETTINGS, argv)


if __name__ == "__main__":
    sys.exit(main())
