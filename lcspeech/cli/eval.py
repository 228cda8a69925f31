"""``lcspeech eval clips`` and ``lcspeech eval stream``: how good a model is on your data."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from lcspeech.cli._options import (
    Number,
    WholeNumber,
    add_model_option,
    add_spotter_options,
    load_spotter,
)
from lcspeech.cli._output import complain, print_json, say
from lcspeech.cli._progress import bar_of
from lcspeech.errors import DataError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lcspeech.cli._options import Subparsers
    from lcspeech.evaluation.clips import ClipResults
    from lcspeech.evaluation.listening import Plan
    from lcspeech.evaluation.streams import Mixing
    from lcspeech.evaluation.summary import StreamSummary

SPLITS = ("validation", "testing", "all")
CLIP_PROTOCOLS = ("v2-12", "v2-35", "words")  # as in evaluation/clips.py, which takes long to import
STREAM_PROTOCOLS = ("long", "picovoice")
SNRS_DB = {"long": (20.0, 10.0, 5.0, 0.0), "picovoice": (10.0,)}
HOURS = {"long": 1.0, "picovoice": 24.0}
TOLERANCE_SECONDS = {"long": 0.5, "picovoice": 0.0}


def add_parser(subparsers: Subparsers) -> None:
    """Add this command."""
    parser = subparsers.add_parser("eval", help="measure a model", description="Measure a model on your own data.")
    kinds = parser.add_subparsers(title="what to measure", metavar="WHAT", required=True)
    _add_clips(kinds)
    _add_stream(kinds)


def _add_clips(kinds: Subparsers) -> None:
    parser = kinds.add_parser(
        "clips",
        help="accuracy on clips of one word",
        description="Accuracy on clips of one word each, streamed in blocks.",
    )
    parser.add_argument(
        "--data", type=Path, required=True, metavar="DIR", help="Speech Commands, its test archive, or folders like it"
    )
    parser.add_argument("--split", choices=SPLITS, help="default: validation; of the test archive, which is one, all")
    parser.add_argument(
        "--protocol",
        choices=CLIP_PROTOCOLS,
        default="v2-12",
        help="ten commands, unknown and silence; 35 words; or the model's own keywords (default: %(default)s)",
    )
    parser.add_argument(
        "--noise",
        type=Path,
        metavar="DIR",
        help="where the silence of v2-12 comes from (default: DATA/_background_noise_)",
    )
    add_model_option(parser)
    _add_output(parser)
    parser.set_defaults(run=run_clips)


def _add_stream(kinds: Subparsers) -> None:
    parser = kinds.add_parser(
        "stream",
        help="misses, false alarms and latency in long streams",
        description="Misses, false alarms per hour and latency: in streams put together from keyword clips, speech and "
        "noise, or in recordings with labels.",
    )
    built = parser.add_argument_group("streams that are put together")
    built.add_argument(
        "--data", type=Path, metavar="DIR", help="keyword clips: a folder a keyword, or those of one --keyword"
    )
    built.add_argument("--split", choices=SPLITS, help="of Speech Commands (default: validation; of other folders all)")
    built.add_argument("--speech", type=Path, metavar="DIR", help="background speech: LibriSpeech, or any folder")
    built.add_argument("--speakers", nargs="+", metavar="ID", help="only these speakers of LibriSpeech")
    built.add_argument("--noise", type=Path, metavar="DIR", help="noise (default: DATA/_background_noise_)")
    built.add_argument(
        "--protocol",
        choices=STREAM_PROTOCOLS,
        help="half speech, half silence; or as the public wake-word benchmark mixes (default: long)",
    )
    built.add_argument("--snr", nargs="+", type=Number(-30, 100, "dB"), metavar="DB", help="default: 20 10 5 0, or 10")
    built.add_argument(
        "--hours", type=Number(0, 10_000, "hours", above=True), metavar="H", help="of background per SNR: 1, or 24"
    )
    built.add_argument("--clips", type=WholeNumber(1, 10**9, "clips"), metavar="N", help="at most so many a keyword")
    built.add_argument("--seed", type=WholeNumber(0, 2**32 - 1, ""), metavar="S", help="default: 0")
    recorded = parser.add_argument_group("recordings")
    recorded.add_argument("--recording", nargs="+", type=Path, metavar="FILE", help="instead: audio of any length")
    recorded.add_argument(
        "--labels", nargs="+", type=Path, metavar="FILE", help="of each recording: an Audacity label track, or JSON"
    )
    parser.add_argument(
        "--tolerance",
        type=Number(0, 10, "seconds"),
        metavar="S",
        help="by which an event may end beside its word (default: 0.5; of picovoice 0)",
    )
    add_spotter_options(parser)
    _add_output(parser)
    parser.set_defaults(run=run_stream)


def _add_output(parser: argparse.ArgumentParser) -> None:
    workers = WholeNumber(1, 1024, "workers")
    parser.add_argument("--workers", type=workers, metavar="N", help="processes (default: one a core); same numbers")
    parser.add_argument("--json", action="store_true", help="one JSON object, nothing else")
    parser.add_argument("--report", type=Path, metavar="HTML", help="write a page with plots, spectrograms and sound")


def run_clips(args: argparse.Namespace) -> int:
    """Label the clips of a split; 1 if some could not be read."""
    from lcspeech.evaluation.clips import evaluate_clips, is_archive, protocol_clips
    from lcspeech.evaluation.parallel import available_cores
    from lcspeech.spotter import Spotter

    _check_report(args.report)
    if args.noise is not None and args.protocol != "v2-12":
        raise UsageError(f"--noise is for the silence of v2-12; {args.protocol} has none, leave it out")
    spotter = Spotter.load(args.model)
    card = spotter.card
    split = args.split or "validation"
    if is_archive(args.data, args.split):
        split = args.split if args.split == "validation" else "all"  # the former is refused
    if args.noise is not None and not args.noise.is_dir():
        raise DataError(f"no folder '{args.noise}' of noise; check its name")
    clips = protocol_clips(args.data, split, args.protocol, [keyword.name for keyword in card.keywords], args.noise)
    workers = args.workers or available_cores()
    with bar_of("labelling", len(clips)) as bar:
        results = evaluate_clips(spotter, clips, args.protocol, workers, bar.advance)
    for error in results.errors:
        complain("error", error)
    if not results.read:
        raise DataError(f"none of the {len(clips)} clips could be read")
    try:  # neither a reader who has left nor a disk that is full takes the other's away
        if args.report:
            from lcspeech.evaluation.report import clips_report

            _write_report(args.report, clips_report(card, results, f"{split} split of {args.data.name}"))
    finally:
        if args.json:
            print_json({"split": split, **results.to_json(card.name)})
        else:
            _print_clips(results, f"{card.name}, {args.protocol}, {split} split of {args.data}")
    return 1 if results.errors else 0


def _print_clips(results: ClipResults, title: str) -> None:
    print(title)
    print(f"\n{'':<10} {'accuracy':>9}  {'95 % interval':<16} {'clips':>6}")
    rows = {"all": results.accuracy, **results.per_word}
    groups = {f"{size} a speaker": share for size, share in results.per_speaker_group.items() if share.total}
    for name, share in (rows | groups).items():
        low, high = share.interval
        interval = f"{100 * low:.1f} to {100 * high:.1f}"
        print(f"{name:<14} {100 * share.value:>5.1f} %  {interval:<16} {share.total:>6}")
    unknown = [word for word in results.words if word not in results.known]
    if unknown:
        print(f"\nnot known to this model, so always wrong: {', '.join(unknown)}")
    mistaken = [
        (count, true, label) for true, row in results.confusion.items() for label, count in row.items() if label != true
    ]
    if mistaken:
        most = sorted(mistaken, key=lambda entry: (-entry[0], entry[1:]))[:10]
        print("\nmost often: " + ", ".join(f"{true} as {label} ({count})" for count, true, label in most))


def run_stream(args: argparse.Namespace) -> int:
    """Hear long streams and print what was missed and what was false; 1 if a recording could not be read."""
    from lcspeech.evaluation.listening import ListeningTask, hear
    from lcspeech.evaluation.parallel import available_cores, run_tasks
    from lcspeech.evaluation.summary import by_snr, summarise

    _check_report(args.report)
    spotter = load_spotter(args)
    names = [keyword.name for keyword in spotter.keywords]
    plans = _recordings(args, names) if args.recording or args.labels else _streams(args, names)
    usual = TOLERANCE_SECONDS[args.protocol or "long"]
    tolerance = usual if args.tolerance is None else args.tolerance
    tasks = [ListeningTask(plan, tolerance) for plan in plans]
    workers = args.workers or available_cores()
    with bar_of("listening", sum(plan.seconds for plan in plans)) as bar:
        results = run_tasks(hear, tasks, spotter, workers, lambda task: bar.advance(task.plan.seconds))
    if not any(any(result.seconds.values()) for result in results):
        raise DataError(
            "; ".join(error for result in results for error in result.errors) or "there is no sound to hear"
        )
    whole, grid = summarise(results, names), by_snr(plans, results, names)
    for error in whole.errors:
        complain("error", error)
    try:  # as of clips
        if args.report:
            from lcspeech.evaluation.report import stream_report

            _write_report(args.report, stream_report(spotter.card, len(names), whole, grid))
    finally:
        if args.json:
            snrs = {snr: summary.to_json() for snr, summary in grid.items()}
            print_json({**whole.to_json(), "model": spotter.card.name, "snr_db": snrs})
        else:
            _print_stream(whole, grid, f"{spotter.card.name}, {len(names)} keywords")
    return 1 if whole.errors else 0


def _recordings(args: argparse.Namespace, names: Sequence[str]) -> list[Plan]:
    from lcspeech.audio import duration
    from lcspeech.evaluation.labels import read_labels
    from lcspeech.evaluation.listening import RecordingPlan

    recordings, labels = args.recording or [], args.labels or []
    if len(recordings) != len(labels):
        raise UsageError(
            f"{len(recordings)} recordings and {len(labels)} label files; give --recording and --labels one of each"
        )
    built = (args.data, args.speech, args.noise, args.speakers, args.snr, args.hours, args.clips, args.split)
    if any(built) or (args.protocol, args.seed) != (None, None):
        raise UsageError("--recording takes the audio as it is; leave the options of streams put together out")
    plans: list[Plan] = []
    others: set[str] = set()
    called = {name.lower(): name for name in names}
    for recording, path in zip(recordings, labels, strict=True):
        truth = read_labels(path)
        known = tuple(
            replace(label, keyword=called[label.keyword.lower()]) for label in truth if label.keyword.lower() in called
        )
        others |= {label.keyword for label in truth if label.keyword.lower() not in called}
        length = duration(recording) or 0.0
        if length and truth and truth[-1].start > length:
            complain("warning", f"'{path}' has labels after the end of '{recording}'; is it the label file of another?")
        plans.append(RecordingPlan(recording, known, length))
    if not any(plan.labels for plan in plans if isinstance(plan, RecordingPlan)):
        raise DataError("no label of a keyword of this model in the label files; check their words, or --keyword")
    if others:
        complain(
            "warning", f"labels that are no keyword of this model, and not looked for: {', '.join(sorted(others))}"
        )
    return plans


def _streams(args: argparse.Namespace, names: Sequence[str]) -> list[Plan]:
    from lcspeech.audio import find_audio
    from lcspeech.evaluation.datasets import BACKGROUND, find_keyword_clips, find_speech
    from lcspeech.evaluation.streams import LONG, PICOVOICE, plan_streams

    if not args.data or not args.speech:
        raise UsageError("a stream is put together from --data and --speech; or give --recording and --labels")
    protocol = args.protocol or "long"
    mixing: Mixing = {"long": LONG, "picovoice": PICOVOICE}[protocol]
    if not args.data.is_dir():
        raise DataError(f"no folder '{args.data}' of keyword clips; check its name")
    clips = _at_most(args.clips, find_keyword_clips(args.data, names, args.split))
    if missing := sorted(set(names) - {name for name, _ in clips}):
        complain("warning", f"no clips of {', '.join(missing)}, so only their false alarms are counted")
    speech, left_out = find_speech(args.speech, names, args.speakers or ())
    if left_out:
        say(f"{left_out} of {left_out + len(speech)} utterances hold a keyword, and are left out of the background")
    noise = args.noise or args.data / BACKGROUND
    if not noise.is_dir():
        raise DataError(f"no folder '{noise}' of noise; give --noise")
    snrs = tuple(dict.fromkeys(args.snr or SNRS_DB[protocol]))
    hours = args.hours or HOURS[protocol]
    return list(plan_streams(clips, speech, find_audio([noise]), hours, snrs, mixing, args.seed or 0))


def _at_most(count: int | None, clips: list[tuple[str, Path]]) -> list[tuple[str, Path]]:
    """So many clips of each keyword at most, spread over the sorted ones, and so over the speakers."""
    if count is None:
        return clips
    chosen = []
    for keyword in dict.fromkeys(keyword for keyword, _ in clips):
        own = [clip for clip in clips if clip[0] == keyword]
        chosen += [own[i * len(own) // count] for i in range(count)] if len(own) > count else own
    return chosen


def _print_stream(whole: StreamSummary, grid: dict[str, StreamSummary], title: str) -> None:
    from lcspeech.evaluation.detection import RATES, at_rate
    from lcspeech.evaluation.summary import all_curves

    print(f"{title}, {whole.hours:.2f} h, {whole.all.clips} words")
    print(f"\nmisses at so many false alarms per hour  {''.join(f'{rate:>24g}' for rate in RATES)}   words")
    for name, curve in all_curves(whole, grid).items():
        cells = []
        for rate in RATES:
            misses = at_rate(curve.points, rate).misses
            low, high = (100 * bound for bound in misses.interval)
            cells.append(f"{f'{100 * misses.value:.1f} % ({low:.1f} to {high:.1f})':>24}")
        print(f"{name:<40} {''.join(cells)}  {curve.clips:>6}")
    if sparse := [f"{rate:g}" for rate in RATES if rate * whole.hours < 1]:
        print(f"{whole.hours:.2f} h are too few to tell {' or '.join(sparse)} an hour: no false alarm is allowed there")
    misses, alarms = whole.operating
    low, high = alarms.interval
    print(
        f"\nat the threshold listened at: {100 * misses.value:.1f} % missed, {alarms.value:.2f} false alarms per hour",
        end="",
    )
    print(f" ({low:.2f} to {high:.2f})")
    for kind, heard in whole.by_kind.items():
        print(f"  {kind:<10} {heard.hours:8.2f} h  {heard.events:>6} false alarms")
    median, late = whole.latency(0.5), whole.latency(0.95)
    if median is not None and late is not None:
        print(f"latency after a word's end: median {median:.2f} s, p95 {late:.2f} s, and", end=" ")
        print(f"{1000 * whole.compute:.1f} ms of computing per second of audio on this machine")


def _check_report(report: Path | None) -> None:
    """Before the long work: what would be lost after it."""
    if report is not None and (report.is_dir() or not report.resolve().parent.is_dir()):
        raise UsageError(f"no report can be written to '{report}'; give a file in a folder that exists")


def _write_report(path: Path, page: str) -> None:
    from lcspeech.pretrained import write

    write(path, page.encode())
    say(f"report: {path}")
