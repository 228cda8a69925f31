"""What the demos listen to: a microphone, or a bundled recording if there is none."""

from __future__ import annotations

import argparse
import contextlib
import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import lcspeech

Block = NDArray[np.float32]

DIALOGUE = Path(__file__).parent / "audio" / "dialogue.flac"
COMMANDS = Path(__file__).parent / "audio" / "commands.flac"
RATE = 16_000  # Hz, at which recordings are read
BLOCK_SECONDS = 0.04
SILENCE_SECONDS = 0.6  # after a recording, as after a word that someone says: its last one is heard by it


@dataclass(frozen=True)
class Source:
    """Blocks of samples at a rate in Hz, of a microphone or not."""

    sample_rate: int
    blocks: Iterable[Block]
    live: bool


def arguments(description: str | None) -> argparse.ArgumentParser:
    """The options of all demos."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--device", help="a microphone, by its number or a part of its name")
    source.add_argument(
        "--recording", nargs="?", type=Path, const=DIALOGUE, help="listen to this file (default: the bundled one)"
    )
    return parser


@contextlib.contextmanager
def hear(device: str | None, recording: Path | None) -> Iterator[Source]:
    """A recording if given, else the microphone, or the bundled recording if there is none. Ctrl-C ends it."""
    try:
        microphone = None if recording else lcspeech.Microphone(device)
    except lcspeech.UsageError as error:
        raise SystemExit(str(error)) from error
    except (lcspeech.MicrophoneError, lcspeech.MissingDependencyError) as error:
        print(f"{str(error).partition(';')[0]}: {DIALOGUE.name} is heard instead", flush=True)
        microphone = None
    if microphone is None:
        silence = np.zeros((round(SILENCE_SECONDS / BLOCK_SECONDS), round(BLOCK_SECONDS * RATE)), np.float32)
        try:
            blocks = lcspeech.read_blocks(recording or DIALOGUE, RATE, BLOCK_SECONDS)
            with contextlib.suppress(KeyboardInterrupt):
                yield Source(RATE, itertools.chain(blocks, silence), live=False)
        except lcspeech.AudioError as error:  # when it is opened, or where it turns out to be damaged
            raise SystemExit(str(error)) from error
        return
    print(f"listening to '{microphone.device.name}'; Ctrl-C ends", flush=True)
    with microphone, contextlib.suppress(KeyboardInterrupt):
        yield Source(microphone.sample_rate, microphone, live=True)
