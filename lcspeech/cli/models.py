"""``lcspeech models``: the models that came with the package."""

from __future__ import annotations

import argparse
import textwrap
from typing import TYPE_CHECKING, Any

from lcspeech.cli._output import complain, print_json

if TYPE_CHECKING:
    from lcspeech.cli._options import Subparsers
    from lcspeech.pretrained import ModelFolder

WIDTH = 100  # of the list of keywords


def add_parser(subparsers: Subparsers) -> None:
    """Add this command."""
    parser = subparsers.add_parser(
        "models", help="list the shipped models", description="List the shipped models; * is the default."
    )
    parser.add_argument("--json", action="store_true", help="one JSON object a line, nothing else")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print a paragraph for each model, the default first."""
    from lcspeech.pretrained import models

    shipped = list(models().values())
    for folder in shipped:
        fields = _fields(folder, default=folder is shipped[0])
        if args.json:
            print_json(fields)
        else:
            print(_paragraph(fields))
    if not shipped:
        complain("warning", "no model came with this installation; give --model a folder, or install lcspeech again")
    return 0


def _fields(folder: ModelFolder, default: bool) -> dict[str, Any]:
    card = folder.card
    return {
        "name": card.name,
        "description": card.description,
        "parameters": card.parameters,
        "keywords": [word.name for word in card.keywords],
        "accuracy": folder.accuracy if "clips" in folder.metrics else None,
        "licence": card.licence,
        "default": default,
    }


def _paragraph(fields: dict[str, Any]) -> str:
    accuracy = fields["accuracy"]
    measured = "accuracy not measured" if accuracy is None else f"accuracy {100 * accuracy:.1f} %"
    keywords = f"{len(fields['keywords'])} keywords: {', '.join(fields['keywords'])}"
    return "\n".join(
        (
            f"{'*' if fields['default'] else ' '} {fields['name']}  {fields['description']}",
            f"    {fields['parameters']:,} parameters, {measured}, {fields['licence']}",
            textwrap.fill(keywords, WIDTH, initial_indent=" " * 4, subsequent_indent=" " * 6),
        )
    )
