"""Train a keyword spotter on Speech Commands, export it, evaluate it and install its folder under pretrained/.

    python recipes/train_kws.py --data-dir speech_commands --run-dir runs/tiny

The knobs and what they mean are in train_kws.toml; each is a flag here too. A killed run goes on with --resume.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from lcspeech.card import FeatureSettings
from lcspeech.errors import LcspeechError
from lcspeech.train.data import download, read_corpus
from lcspeech.train.install import install
from lcspeech.train.loop import Trainer
from lcspeech.train.plot import plot_log
from lcspeech.train.settings import add_arguments, load_settings

SETTINGS = Path(__file__).with_suffix(".toml")


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, required=True, help="Speech Commands: one folder of clips a word")
    parser.add_argument("--logmel-dir", type=Path, help="log-mel pictures of the same data set, <word>.tar.xz")
    parser.add_argument("--librispeech-dir", type=Path, help="LibriSpeech: speaker/chapter/*.trans.txt with audio")
    parser.add_argument("--noise-dir", type=Path, nargs="*", default=[], help="folders of noise recordings")
    parser.add_argument("--run-dir", type=Path, default=Path("runs/train_kws"), help="checkpoint, log, plot (default: %(default)s)")
    parser.add_argument("--install-dir", type=Path, default=Path("pretrained"), help="where the model's folder goes (default: %(default)s)")
    parser.add_argument("--download", action="store_true", help="fetch Speech Commands v0.02 into --data-dir (2.3 GB)")
    parser.add_argument("--resume", action="store_true", help="go on from the run folder's checkpoint, to the bit")
    add_arguments(parser.add_argument_group("settings (recipes/train_kws.toml)"), SETTINGS)
    return parser.parse_args(argv)
