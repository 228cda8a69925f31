"""Train a keyword spotter on Speech Commands, export it, evaluate it and install its folder under pretrained/.

    python recipes/train_kws.py --data-dir speech_commands --run-dir runs/tiny
    torchrun --nproc-per-node 2 recipes/train_kws.py --data-dir speech_commands  # two processes share each batch

The knobs and what they mean are in train_kws.toml; each is a flag here too. A killed run goes on with --resume.
"""

from __future__ import annotations

import argparse
import logging
import shlex
import sys
from pathlib import Path

from rich.progress import MofNCompleteColumn, Progress

from lcspeech.card import FeatureSettings
from lcspeech.errors import LcspeechError
from lcspeech.train.data import download, read_corpus, read_validation
from lcspeech.train.distributed import launcher, process_group, rank
from lcspeech.train.install import install
from lcspeech.train.loop import CHECKPOINT, LOG, Trainer, read_checkpoint
from lcspeech.train.plot import plot_log
from lcspeech.train.settings import TrainSettings, add_arguments, load_settings, overrides

SETTINGS = Path(__file__).with_suffix(".toml")


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, required=True, help="Speech Commands: one folder of clips a word")
    parser.add_argument("--logmel-dir", type=Path, help="log-mel pictures of the same data set, <word>.tar.xz")
    parser.add_argument("--librispeech-dir", type=Path, help="LibriSpeech: speaker/chapter/*.trans.txt with audio")
    parser.add_argument("--noise-dir", type=Path, nargs="*", default=[], help="folders of noise recordings")
    parser.add_argument("--teacher", type=Path, help="checkpoint of a trained network whose posteriors to learn too")
    parser.add_argument("--init", type=Path, help="checkpoint of a trained network whose weights to start from")
    parser.add_argument("--run-dir", type=Path, default=Path("runs/train_kws"), help="for checkpoint, log and plot")
    parser.add_argument("--install-dir", type=Path, default=Path("pretrained"), help="where the model's folder goes")
    parser.add_argument("--download", action="store_true", help="fetch Speech Commands v0.02 into --data-dir (2.3 GB)")
    parser.add_argument("--resume", action="store_true", help="go on from the run folder's checkpoint, to the bit")
    add_arguments(parser.add_argument_group("settings (recipes/train_kws.toml)"), SETTINGS)
    return parser.parse_args(argv)


def run(args: argparse.Namespace, settings: TrainSettings, command: str) -> None:
    features, speakers = FeatureSettings(), settings.validation_speakers
    data_dir = download(args.data_dir) if args.download else args.data_dir
    corpus = read_corpus(
        data_dir, features, args.logmel_dir, args.librispeech_dir, args.noise_dir, settings.noise_source, speakers
    )
    teacher = read_checkpoint(args.teacher, features)[0] if args.teacher else None
    trainer = Trainer(corpus, settings, features, args.run_dir, teacher)
    if args.resume:
        trainer.resume()
    elif args.init:
        trainer.start_from(read_checkpoint(args.init, features)[0])
    with Progress(*Progress.get_default_columns(), MofNCompleteColumn(), disable=rank() != 0) as progress:
        task = progress.add_task("training", total=trainer.steps, completed=trainer.steps_done)
        trainer.run(lambda: progress.advance(task))
    if rank() != 0:
        return  # one process installs
    plot_log(args.run_dir / LOG, args.run_dir / "log.png")
    validation = read_validation(data_dir, args.librispeech_dir, args.noise_dir, speakers)
    folder, checkpoint = args.install_dir / settings.name, args.run_dir / CHECKPOINT
    metrics = install(checkpoint, folder, settings, corpus.recordings(), validation, command)
    print(f"installed {folder}: {100 * metrics['clips']['accuracy']:.2f} % of {metrics['clips']['total']} clips")


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    command = shlex.join([*launcher(), "recipes/train_kws.py", *(sys.argv[1:] if argv is None else argv)])
    try:
        with process_group():
            run(args, load_settings(SETTINGS, overrides(args)), command)
    except LcspeechError as error:
        print(f"train_kws: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"stopped; go on with: {command} --resume", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
