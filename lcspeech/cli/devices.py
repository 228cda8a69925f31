"""``lcspeech devices``: what `listen` can record from."""

from __future__ import annotations

import argparse
import dataclasses
from typing import TYPE_CHECKING

from lcspeech.cli._output import print_json
from lcspeech.errors import MicrophoneError

if TYPE_CHECKING:
    from lcspeech.cli._options import Subparsers


def add_parser(subparsers: Subparsers) -> None:
    """Add this command."""
    parser = subparsers.add_parser(
        "devices", help="list the microphones", description="List the input devices; * is the one listened to."
    )
    parser.add_argument("--json", action="store_true", help="one JSON object a line, nothing else")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print a line for each device."""
    from lcspeech.devices import input_devices

    devices = input_devices()
    if not devices:
        raise MicrophoneError("no microphone found; plug one in, or spot a file with 'lcspeech spot FILE'")
    width = max(len(device.name) for device in devices)
    for device in devices:
        if args.json:
            print_json(dataclasses.asdict(device))
            continue
        mark = "*" if device.default else " "
        channels = f"{device.channels} channel" + "s" * (device.channels > 1)
        print(f"{mark} {device.index:>3}  {device.name:<{width}}  {channels:>12}  {device.sample_rate} Hz")
    return 0
