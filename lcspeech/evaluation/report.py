"""The evaluation as one self-contained page of HTML: figures, plots, and the worst mistakes to be seen and heard."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from importlib import resources

import numpy as np
import soundfile
from numpy.typing import NDArray

from lcspeech import __version__
from lcspeech.card import FeatureSettings, ModelCard
from lcspeech.evaluation import plots
from lcspeech.evaluation.clips import ClipResults
from lcspeech.evaluation.detection import RATES, at_rate
from lcspeech.evaluation.listening import Plan, heard_between
from lcspeech.evaluation.metrics import Proportion, Rate
from lcspeech.evaluation.streams import StreamPlan
from lcspeech.evaluation.summary import Curve, StreamSummary, all_curves
from lcspeech.features import log_mel
from lcspeech.scoring import SILENCE, UNKNOWN

EXAMPLES = 8  # of each kind of mistake
AROUND_SECONDS = 0.6  # heard before and after a mistake in a stream
LOUDNESS = 0.7  # to which the peak of an example is brought


def clips_report(card: ModelCard, results: ClipResults, data: str) -> str:
    """The page of `lcspeech eval clips`; `data` says what was measured on."""
    wrong = sorted((one for one in results.read if not one.right), key=lambda one: -one.probability)
    rate = card.features.sample_rate
    cards = [
        _card(
            one.clip.samples(rate),
            card.features,
            f"{one.clip.label}, taken for {one.label}",
            f"probability {one.probability:.2f} · {one.clip.path.parent.name}/{one.clip.path.name}",
        )
        for one in wrong[:EXAMPLES]
    ]
    seen = {one.label for one in results.read} | {one.clip.label for one in results.read}
    labels = [label for label in (*results.words, UNKNOWN, SILENCE) if label in seen]
    groups = {f"{size} in the split": share for size, share in results.per_speaker_group.items() if share.total}
    boxes = [
        (_percent(results.accuracy), "accuracy", f"95 % interval {_interval(results.accuracy)}"),
        (
            f"{results.accuracy.total:,}",
            "clips",
            f"{len(results.errors)} more could not be read" if results.errors else "all could be read",
        ),
        (
            f"{len(results.known)} of {len(results.words)}",
            "words known to the model",
            f"of protocol {results.protocol}",
        ),
        (f"{card.parameters:,}", "parameters", card.name),
    ]
    sections = [
        _section(
            "Confusion",
            "True labels in rows, the model's in columns; shaded by their share of the row.",
            f'<div class="scroll">{plots.confusion(results.confusion, labels)}</div>',
        ),
        _section("Words", "", _shares("word", results.per_word)),
        _section("Speakers", "By how many clips one speaker has.", _shares("clips a speaker", groups))
        if groups
        else "",
        _section("Worst mistakes", "The wrong labels that the model was surest of.", _cards(cards)) if cards else "",
    ]
    return _page(f"{card.name} on clips", f"Protocol {results.protocol}, {data}.", boxes, sections)


def stream_report(card: ModelCard, keywords: int, whole: StreamSummary, grid: Mapping[str, StreamSummary]) -> str:
    """The page of `lcspeech eval stream`, of so many keywords; `grid` has the summary of each signal-to-noise ratio."""
    curves = {f"{snr} dB": summary.all.points for snr, summary in grid.items()} if len(grid) > 1 else {}
    sections = [
        _section(
            "Misses against false alarms",
            "All keywords together, as the threshold moves, with 95 % bands. What had no false alarm is drawn at half "
            "an event in the whole time.",
            plots.det(curves or {"all keywords": whole.all.points}),
        ),
        _section(
            "Keywords",
            f"Missed at so many false alarms per hour, with 95 % intervals. In {whole.hours:.2g} h, rates below "
            f"{1 / whole.hours:.2g} an hour cannot be told from none.",
            _curves(all_curves(whole, grid)),
        ),
        _section("Background", "False alarms at the model's threshold.", _background(whole.by_kind)),
    ]
    median, late = whole.latency(0.5), whole.latency(0.95)
    if median is not None and late is not None:
        plot = plots.histogram(whole.latencies, {"median": median, "p95": late}, "seconds after the word's end")
        sections.append(_section("Latency", "From a word's end to its event, in stream time.", plot))
    missed = [
        _stream_card(card, m.plan, m.label.start, m.label.end, m.label.keyword, f"score {m.score:.2f}")
        for m in whole.misses[:EXAMPLES]
    ]
    false = [
        _stream_card(card, a.plan, a.event.start, a.event.end, a.event.keyword, f"score {a.event.score:.2f}")
        for a in whole.alarms[:EXAMPLES]
    ]
    if missed:
        sections.append(_section("Worst misses", "Words that scored lowest.", _cards(missed)))
    if false:
        sections.append(
            _section("Worst false alarms", "Events that scored highest, where that was not said.", _cards(false))
        )
    return _page(f"{card.name} in long streams", f"{keywords} keywords.", _stream_boxes(whole), sections)


def _stream_boxes(whole: StreamSummary) -> list[tuple[str, str, str]]:
    misses, alarms = whole.operating
    point, (low, high) = at_rate(whole.all.points, 1.0), alarms.interval
    median, late = whole.latency(0.5), whole.latency(0.95)
    return [
        (
            _percent(point.misses),
            "missed at 1 false alarm per hour",
            f"95 % interval {_interval(point.misses)}; all keywords together, at threshold {point.threshold:.3g}",
        ),
        (
            f"{alarms.value:.2f}",
            "false alarms per hour, at the model's threshold",
            f"95 % interval {low:.2f} to {high:.2f}; {_percent(misses)} missed",
        ),
        (
            "none" if late is None else f"{1000 * late:.0f} ms",
            "latency after a word's end, p95",
            "no event" if median is None else f"median {1000 * median:.0f} ms; in stream time",
        ),
        (
            f"{whole.hours:.2f} h",
            "heard",
            f"{whole.all.clips:,} words; {1000 * whole.compute:.1f} ms of computing per second of audio",
        ),
    ]


def _background(by_kind: Mapping[str, Rate]) -> str:
    rows = "".join(
        f"<tr><td>{escape(kind)}</td><td>{rate.hours:.2f} h</td><td>{rate.events}</td><td>{rate.value:.2f} "
        f"<small>{rate.interval[0]:.2f} to {rate.interval[1]:.2f}</small></td></tr>"
        for kind, rate in by_kind.items()
        if rate.hours
    )
    return f"<table><tr><th>during</th><th>heard for</th><th>false alarms</th><th>per hour</th></tr>{rows}</table>"


def _stream_card(card: ModelCard, plan: Plan, start: float, end: float, keyword: str, details: str) -> str:
    rate = card.features.sample_rate
    samples = heard_between(plan, rate, start - AROUND_SECONDS, end + AROUND_SECONDS)
    where = f"{plan.snr_db:g} dB · stream {plan.seed[1] + 1}" if isinstance(plan, StreamPlan) else plan.path.name
    return _card(samples, card.features, keyword, f"{details} · {where} at {start:.1f} s")


def _card(samples: NDArray[np.float32], settings: FeatureSettings, title: str, details: str) -> str:
    peak = float(np.abs(samples).max(initial=0.0))
    content = io.BytesIO()
    soundfile.write(content, samples * (LOUDNESS / peak if peak else 0.0), settings.sample_rate, format="FLAC")
    sound = base64.b64encode(content.getvalue()).decode()
    image = plots.picture(log_mel(samples, settings))
    return (
        f'<div class="card"><img src="{image}" alt="log-mel spectrogram"><div><b>{escape(title)}</b>'
        f"<span>{escape(details)}</span></div>"
        f'<audio controls preload="metadata" src="data:audio/flac;base64,{sound}"></audio></div>'
    )


def _cards(cards: Iterable[str]) -> str:
    return f'<div class="cards">{"".join(cards)}</div>'


def _shares(title: str, shares: Mapping[str, Proportion]) -> str:
    rows = "".join(
        f"<tr><td>{escape(name)}</td><td>{_percent(share)}</td><td>{_interval(share)}</td><td>{share.total:,}</td></tr>"
        for name, share in shares.items()
    )
    head = f"<tr><th>{escape(title)}</th><th>accuracy</th><th>95 % interval</th><th>clips</th></tr>"
    return f'<div class="scroll"><table>{head}{rows}</table></div>'


def _curves(curves: Mapping[str, Curve]) -> str:
    head = "".join(f"<th>at {rate:g}</th>" for rate in RATES)
    rows = []
    for name, curve in curves.items():
        shares = [at_rate(curve.points, rate).misses for rate in RATES]
        cells = "".join(f"<td>{_percent(share)} <small>{_interval(share)}</small></td>" for share in shares)
        rows.append(f"<tr><td>{escape(name)}</td>{cells}<td>{curve.clips:,}</td></tr>")
    return f'<div class="scroll"><table><tr><th>keyword</th>{head}<th>words</th></tr>{"".join(rows)}</table></div>'


def _percent(share: Proportion) -> str:
    return f"{100 * share.value:.1f} %"


def _interval(share: Proportion) -> str:
    low, high = share.interval
    return f"{100 * low:.1f} to {100 * high:.1f}"


def _section(title: str, text: str, content: str) -> str:
    return f"<section><h2>{escape(title)}</h2><p>{escape(text)}</p>{content}</section>"


def _page(title: str, text: str, boxes: Sequence[tuple[str, str, str]], sections: Iterable[str]) -> str:
    style = resources.files("lcspeech.evaluation").joinpath("report.css").read_text()
    figures = "".join(
        f"<div><b>{escape(figure)}</b>{escape(what)}<span>{escape(more)}</span></div>" for figure, what, more in boxes
    )
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width,initial-scale=1"><style>{style}</style></head><body><main>'
        f"<h1>{escape(title)}</h1><p>{escape(text)} Measured by lcspeech {__version__}, streamed.</p>"
        f'<div class="figures">{figures}</div>{"".join(sections)}</main></body></html>\n'
    )
