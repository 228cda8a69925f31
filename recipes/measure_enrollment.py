"""Measure typed and recorded words: how many clips are found in noise, at which false alarms in speech.

    python recipes/measure_enrollment.py --clips athena/ --speech librispeech/train-clean-5/1737 --noise noise/ \\
        --output pretrained/open/athena.json

Each trial enrolls random clips of the folder, whose name is the word, and looks for the others in a stream with noise:
at the keyword's own threshold, and at the lowest that lets half a false alarm an hour pass in this very speech. Of each
trial, this is measured of how they pronounce the word alone, and (but with `--quick`) of what is learned from them.
With `--voices`, the word is learned from synthetic voices, too, alone and beside the clips. With `--peer`, PocketSphinx
searches the same streams for it, at a threshold so chosen.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from lcspeech import AudioError, Keyword, Spotter, enroll, pretrained
from lcspeech.audio import find_audio
from lcspeech.evaluation import figures
from lcspeech.evaluation.own_words import OwnWord


def trials(
    args: argparse.Namespace, spotter: Spotter, word: str, files: list[Path], refused: list[str]
) -> Iterator[tuple[str, Keyword]]:
    yield "typed", spotter.keyword(word)
    if args.voices:
        yield "voices", enroll(word, spotter=spotter, voices=True)
    random, made = np.random.default_rng(1), 0
    for _ in range(20 * args.trials):
        if made == args.trials:
            return
        try:
            chosen = [files[i] for i in random.permutation(len(files))[: args.recordings]]
            pronounced = enroll(word, chosen, spotter=spotter, learn=False)
        except AudioError as error:  # clips of any quality are among them; a user would record again
            refused.append(str(error).replace(f"{args.clips}/", ""))
            continue
        made += 1
        yield f"pronounced {made}", pronounced
        if args.quick:
            continue
        yield f"recorded {made}", enroll(word, chosen, spotter=spotter)
        if args.voices:
            yield f"both {made}", enroll(word, chosen, spotter=spotter, voices=True)


def measure(args: argparse.Namespace, made: figures.Made) -> None:
    rows, refused = list[dict[str, Any]](), list[str]()

    def note(kind: str, row: dict[str, Any]) -> None:
        alarms = ", ".join(f"{rate:.2f} in {name}" for name, rate in row["false_alarms_per_hour"].items())
        found = f"threshold {row['threshold']:g}, found {100 * row['found']:.1f} % of {row['clips']}"
        print(f"{kind}: {found}, false alarms per hour: {alarms}", flush=True)
        rows.append({"kind": kind, **row})

    spotter, word = Spotter.load(args.model), args.clips.resolve().name
    files = [Path(file) for file in np.random.default_rng(0).permutation(np.array(find_audio([args.clips]), str))]
    searched, enrolled = files[: args.most], files[args.most :] or files
    rate = spotter.card.features.sample_rate
    streams = OwnWord.of(searched, find_audio(args.speech), find_audio([args.noise]), args.snr_db, rate)
    for kind, keyword in trials(args, spotter, word, enrolled, refused):
        own, best = streams.measure(spotter, keyword)
        note(kind, own)
        note(f"{kind}, best threshold", best)
    if args.peer:
        note("pocketsphinx, best threshold", streams.measure_pocketsphinx(word))
    if args.output:
        figures.write(
            args.output,
            {
                **made,
                "hours": streams.hours,
                "noise_hours": len(streams.noise) / rate / 3600,
                "refused_draws": refused,
                "trials": rows,
            },
        )


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=Path, required=True, help="clips of one word")
    parser.add_argument("--speech", type=Path, nargs="+", required=True, help="speech in which the word is not said")
    parser.add_argument("--noise", type=Path, required=True, help="noise to mix with the clips and with the speech")
    parser.add_argument("--snr-db", type=float, default=10.0, help="default: %(default)s")
    parser.add_argument("--recordings", type=int, default=5, help="that are enrolled (default: %(default)s)")
    parser.add_argument("--trials", type=int, default=5, help="default: %(default)s")
    parser.add_argument("--most", type=int, default=200, help="clips that are looked for (default: %(default)s)")
    parser.add_argument("--model", default=pretrained.OPEN, help="the model (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="learn nothing from the clips")
    parser.add_argument("--voices", action="store_true", help="learn from synthetic voices, too (flite, espeak-ng)")
    parser.add_argument("--peer", action="store_true", help="measure PocketSphinx too (pip install pocketsphinx)")
    parser.add_argument("--output", type=Path, help="JSON file to write the figures to")
    return figures.main("measure_enrollment", measure, parser, argv)


if __name__ == "__main__":
    sys.exit(main())
