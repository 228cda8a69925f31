"""Measure typed and recorded words: how many clips are found in noise, at which false alarms in speech.

    python recipes/measure_enrollment.py --clips athena/ --speech librispeech/train-clean-5/1737 --noise noise/ \\
        --output pretrained/open/athena.json

Each trial enrolls random clips of the folder, whose name is the word, and looks for the others in a stream with noise:
at the keyword's own threshold, and at the lowest that lets half a false alarm an hour pass in this very speech.
With `--adapt`, models are trained, as by `lcspeech adapt`, on the word typed, on the same clips, and on both, and
measured in the same way. With `--peer`, PocketSphinx searches the same streams for the word, at a threshold so chosen
too.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
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
) -> Iterator[tuple[str, Keyword, Spotter]]:
    typed = spotter.keyword(word)
    yield "typed", typed, spotter
    if args.adapt:
        yield "adapted, typed", *trained(word, [], [typed])
    random, made = np.random.default_rng(1), 0
    for _ in range(20 * args.trials):
        try:
            chosen = [files[i] for i in random.permutation(len(files))[: args.recordings]]
            keyword = enroll(word, chosen, spotter=spotter)
        except AudioError as error:  # clips of any quality are among them; a user would record again
            refused.append(str(error).replace(f"{args.clips}/", ""))
            continue
        made += 1
        yield f"recorded {made}", keyword, spotter
        if args.adapt:
            yield f"adapted, recorded {made}", *trained(word, chosen, [])
            yield f"adapted, both {made}", *trained(word, chosen, [typed])
        if made == args.trials:
            return


def trained(word: str, recordings: list[Path], typed: list[Keyword]) -> tuple[Keyword, Spotter]:
    from lcspeech.train.adapt import adapt

    with tempfile.TemporaryDirectory() as folder:
        spotter = adapt({word: recordings} if recordings else {}, Path(folder) / word, typed=typed)
    return spotter.keywords[0], spotter


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
    for kind, keyword, listener in trials(args, spotter, word, enrolled, refused):
        note(kind, streams.measure(listener, keyword))
        note(f"{kind}, best threshold", streams.measure_at_best(listener, keyword))
    if args.peer:
        note("pocketsphinx, best threshold", streams.measure_pocketsphinx(word))
    if args.output:
        figures.write(args.output, {**made, "hours": streams.hours, "refused_draws": refused, "trials": rows})


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
    parser.add_argument(
        "--adapt", action="store_true", help="train models of the word too (extra [train], flite, espeak-ng)"
    )
    parser.add_argument("--peer", action="store_true", help="measure PocketSphinx too (pip install pocketsphinx)")
    parser.add_argument("--output", type=Path, help="JSON file to write the figures to")
    return figures.main("measure_enrollment", measure, parser, argv)


if __name__ == "__main__":
    sys.exit(main())
