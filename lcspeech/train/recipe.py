"""What the training recipes share: where the data is, the progress of a run, and how errors end it."""

from __future__ import annotations

import argparse
import errno
import logging
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

from rich.progress import MofNCompleteColumn, Progress

from lcspeech.card import FeatureSettings
from lcspeech.errors import LcspeechError, UsageError
from lcspeech.evaluation.figures import check_output
from lcspeech.pretrained import check_replaceable
from lcspeech.train.data import FETCHED, Corpus, download, read_corpus
from lcspeech.train.distributed import launcher, process_group, processes, rank
from lcspeech.train.plot import plot_log
from lcspeech.train.run import CHECKPOINT, LOG, Run
from lcspeech.train.settings import TrainSettings, add_arguments, load_settings, overrides


def arguments(description: str | None, run_dir: Path, *settings: Path) -> argparse.ArgumentParser:
    """A parser of the flags that every training has; those of `settings`, TOML files, come last in its help."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, required=True, help="Speech Commands: one folder of clips a word")
    parser.add_argument("--logmel-dir", type=Path, help="log-mel pictures of the same data set, <word>.tar.xz")
    parser.add_argument("--librispeech-dir", type=Path, help="LibriSpeech: speaker/chapter/*.trans.txt with audio")
    parser.add_argument("--synthetic-dir", type=Path, help="the same layout, said by voices of synthesise.py")
    parser.add_argument("--noise-dir", type=Path, nargs="*", default=[], help="folders of noise recordings")
    parser.add_argument("--run-dir", type=Path, default=run_dir, help="for checkpoint, log and plot")
    parser.add_argument("--download", action="store_true", help="fetch Speech Commands v0.02 into --data-dir (2.3 GB)")
    parser.add_argument("--resume", action="store_true", help="go on from the run folder's checkpoint, to the bit")
    names = " over ".join(f"recipes/{path.name}" for path in reversed(settings))
    add_arguments(parser.add_argument_group(f"settings ({names})"), *settings)
    return parser


def corpus_of(args: argparse.Namespace, settings: TrainSettings) -> Corpus:
    """The training data that the flags name; `args.data_dir` becomes where `--download` put it, now or before."""
    if args.synthetic_dir and not args.librispeech_dir:
        raise UsageError("--synthetic-dir is heard beside utterances of --librispeech-dir; give that, too")
    fetched = args.data_dir / FETCHED
    if args.download and not fetched.is_dir() and processes() > 1:
        raise UsageError("--download is for one process: start it once without torchrun, and then with it")
    if args.download or fetched.is_dir():
        args.data_dir = download(args.data_dir)
    folders = (args.logmel_dir, args.librispeech_dir, args.noise_dir, args.synthetic_dir)
    sources, speakers = (
        (settings.clips_source, settings.talk_source, settings.noise_source),
        settings.validation_speakers,
    )
    return read_corpus(args.data_dir, FeatureSettings(), *folders, sources=sources, validation_speakers=speakers)


def train(run: Run, resume: bool) -> None:
    """To the end, with a bar that shows how far it is, and a plot of the log."""
    if resume:
        run.resume()
    with Progress(*Progress.get_default_columns(), MofNCompleteColumn(), disable=rank() != 0) as progress:
        task = progress.add_task("training", total=run.steps, completed=run.steps_done)
        run.run(lambda: progress.advance(task))
    if rank() == 0:
        plot_log(run.run_dir / LOG, run.run_dir / "log.png")


def main(
    name: str,
    run: Callable[[argparse.Namespace, TrainSettings, str], None],
    parser: argparse.ArgumentParser,
    settings: tuple[Path, ...],
    argv: list[str] | None,
) -> int:
    """Parse, then `run(args, settings, command)`; what goes wrong is one line, and the exit status.

    `command` is what to type to do the same again.
    """
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    command = shlex.join([*launcher(), f"recipes/{name}.py", *(sys.argv[1:] if argv is None else argv)])
    checkpoint = args.run_dir / CHECKPOINT
    try:
        for folder in (args.run_dir, getattr(args, "install_dir", args.run_dir)):
            if folder.exists() and not folder.is_dir():
                raise UsageError(f"'{folder}' is a file; give a folder")
        if checkpoint.exists() and not args.resume:
            raise UsageError(f"'{args.run_dir}' holds a training; --resume goes on with it, --run-dir names another")
        check_output(getattr(args, "output", None))
        chosen = load_settings(*settings, overrides=overrides(args))
        if (install_dir := getattr(args, "install_dir", None)) is not None:
            check_replaceable(install_dir / chosen.name)
        with process_group():
            run(args, chosen, command)
    except (LcspeechError, OSError) as error:
        full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        remedy = "; make room, then go on with --resume" if full and checkpoint.exists() else ""
        print(f"{name}: error: {error}{remedy}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        begun = checkpoint.exists() and not args.resume
        print(f"stopped; go on with: {command}{' --resume' if begun else ''}", file=sys.stderr)
        return 130
    return 0
