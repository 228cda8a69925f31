"""``lcspeech export``: a training checkpoint -> a model's folder."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from lcspeech.errors import MissingDependencyError, UsageError

if TYPE_CHECKING:
    from lcspeech.cli._options import Subparsers


def add_parser(subparsers: Subparsers) -> None:
    """Add this command."""
    parser = subparsers.add_parser(
        "export",
        help="make a model from a training checkpoint",
        description="Make a model's folder from a training checkpoint. Needs the extra: pip install 'lcspeech[train]'",
    )
    parser.add_argument("checkpoint", type=Path, metavar="CHECKPOINT", help="a run's checkpoint.pt")
    parser.add_argument("--output", type=Path, metavar="DIR", help="(default: 'model' beside the checkpoint)")
    parser.add_argument("--int8", action="store_true", help="weights of 8 bits: a third of the size (default: float32)")
    parser.add_argument(
        "--like", metavar="MODEL", help="with the thresholds of this model, which was made from the same checkpoint"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Export; without `--like` the model is not calibrated yet, which is the training recipe's work."""
    if not args.checkpoint.is_file():
        raise UsageError(f"no checkpoint '{args.checkpoint}'; give a run's checkpoint.pt")
    folder = args.output or args.checkpoint.parent / "model"
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"'{folder}' is a file; give a folder")
    try:
        from lcspeech import pretrained
        from lcspeech.encoder import Encoder
        from lcspeech.train.install import export_checkpoint

        calibrated = Encoder(pretrained.load(args.like)).card if args.like else None
        difference = export_checkpoint(args.checkpoint, folder, args.int8, calibrated)
    except ImportError as error:  # some are imported only when they are needed
        raise MissingDependencyError(f"export needs {error.name or error}: pip install 'lcspeech[train]'") from error
    before = ", before its weights were rounded to 8 bits" if args.int8 else ""
    print(f"{folder}: written; differs from the checkpoint by {difference:.1e} at most{before}")
    return 0
