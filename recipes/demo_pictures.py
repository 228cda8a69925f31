"""Draw the terminal of each demo as an SVG file, from what it really prints.

    python recipes/demo_pictures.py

Every demo hears its bundled recording. Run it again when the shipped model changes.
"""

from __future__ import annotations

import argparse
import io
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import DIMMED_MONOKAI

DEMOS = Path(__file__).parents[1] / "demos"
COMMANDS = {
    "spot_recording": [],
    "smart_speaker": ["--recording"],
    "car_assistant": ["--recording"],
    "two_rooms": [],
    "webhook": ["--recording"],
}
COLUMNS, LINES = 100, 24  # of the terminal; what is longer is cut


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=DEMOS / "pictures", help="folder (default: %(default)s)")
    parser.add_argument("demos", nargs="*", metavar="DEMO", help=f"of {', '.join(COMMANDS)} (default: all)")
    return parser.parse_args(argv)


def draw(demo: str) -> str:
    """An SVG picture of a terminal in which the demo ran."""
    with tempfile.TemporaryDirectory() as folder:  # where it may write its log
        command = [sys.executable, str(DEMOS / f"{demo}.py"), *COMMANDS[demo]]
        output = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout
    lines = [f"$ {' '.join(['python', f'demos/{demo}.py', *COMMANDS[demo]])}", *output.splitlines()]
    if len(lines) > LINES:
        lines[LINES - 1 :] = ["..."]
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), highlight=False)
    for line in lines:
        console.print(line, markup=False, no_wrap=True, crop=True, overflow="ellipsis")
    picture = console.export_svg(title=f"{demo}.py", theme=DIMMED_MONOKAI, unique_id=demo)
    return re.sub(r"@font-face {.*?}", "", picture, flags=re.DOTALL)  # a picture in a page may load nothing


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    if unknown := set(args.demos) - set(COMMANDS):
        print(f"demo_pictures: error: no demo '{min(unknown)}'; there are: {', '.join(COMMANDS)}", file=sys.stderr)
        return 2
    args.output.mkdir(parents=True, exist_ok=True)
    for demo in args.demos or COMMANDS:
        path = args.output / f"{demo}.svg"
        path.write_text(draw(demo))
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
