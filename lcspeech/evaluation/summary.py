"""Figures of long streams, summed over streams: curves of each keyword and of all, latency, alarms by background."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lcspeech.evaluation.detection import RATES, Counts, Point, at_rate, curve
from lcspeech.evaluation.listening import Alarm, Miss, StreamResult
from lcspeech.evaluation.metrics import Proportion, Rate
from lcspeech.evaluation.streams import StreamPlan


@dataclass(frozen=True)
class Curve:
    """Misses against false alarms of a keyword, or of all: one point per threshold, the lowest first."""

    clips: int
    points: tuple[Point, ...]

    def to_json(self) -> dict[str, Any]:
        """Thresholds, miss rates and false alarms per hour; the misses at the rates that are stated."""
        return {
            "clips": self.clips,
            "curve": [
                {
                    "threshold": point.threshold,
                    "miss_rate": point.misses.value,
                    "false_alarms_per_hour": point.alarms.value,
                }
                for point in self.points
            ],
            "at": {str(rate): _point_json(at_rate(self.points, rate)) for rate in RATES},
        }


@dataclass(frozen=True)
class StreamSummary:
    """Figures of some streams. `operating` is the spotter's own threshold, of which latency and alarms are told."""

    hours: float
    keywords: dict[str, Curve]
    all: Curve
    operating: tuple[Proportion, Rate]  # misses and false alarms
    by_kind: dict[str, Rate]  # false alarms while there was speech, silence or a keyword, or in a "recording"
    latencies: tuple[float, ...]  # seconds, sorted
    misses: tuple[Miss, ...]  # the lowest score first
    alarms: tuple[Alarm, ...]  # the highest score first
    compute: float  # CPU seconds per second of audio
    errors: tuple[str, ...] = ()  # of recordings that could not be read, and are not in the streams

    def latency(self, quantile: float) -> float | None:
        """Seconds from a word's end to its event in stream time; None if there was no event."""
        return float(np.quantile(self.latencies, quantile)) if self.latencies else None

    def to_json(self) -> dict[str, Any]:
        """All that does not depend on the machine. `all` counts the false alarms of all keywords together."""
        misses, alarms = self.operating
        return {
            "hours": self.hours,
            "unread": len(self.errors),
            "keywords": {name: one.to_json() for name, one in self.keywords.items()},
            "all": self.all.to_json(),
            "latency": {"median": self.latency(0.5), "p95": self.latency(0.95)},
            "operating": {
                "miss_rate": misses.value,
                "interval": misses.interval,
                "false_alarms_per_hour": alarms.value,
                "false_alarms_interval": alarms.interval,
            },
            "background": {
                kind: {"hours": rate.hours, "false_alarms_per_hour": rate.value, "interval": rate.interval}
                if rate.hours
                else {"hours": 0.0, "false_alarms_per_hour": None, "interval": None}  # infinite, which JSON cannot say
                for kind, rate in self.by_kind.items()
            },
        }


def summarise(results: Sequence[StreamResult], names: Sequence[str]) -> StreamSummary:
    """Sum over streams; `names` are the keywords in the order of the results' counts."""
    kinds = dict.fromkeys(kind for result in results for kind in result.seconds)
    seconds = {kind: math.fsum(result.seconds.get(kind, 0.0) for result in results) for kind in kinds}
    hours = sum(seconds.values()) / 3600
    said = Counter(label.keyword for result in results for label in result.labels)
    found: Counts = sum((result.found for result in results), np.zeros_like(results[0].found))
    false: Counts = sum((result.false for result in results), np.zeros_like(results[0].false))
    misses = sorted((m for result in results for m in result.misses), key=lambda miss: miss.score)
    alarms = sorted((a for result in results for a in result.alarms), key=lambda alarm: -alarm.event.score)
    during = Counter(alarm.during for alarm in alarms)
    return StreamSummary(
        hours,
        {
            name: Curve(said[name], curve(found[:, i], false[:, i], said[name], hours))
            for i, name in enumerate(names)
            if said[name]
        },
        Curve(said.total(), curve(found.sum(1), false.sum(1), said.total(), hours)),
        (Proportion(len(misses), said.total()), Rate(len(alarms), hours)),
        {str(kind or "recording"): Rate(during[kind], seconds[kind] / 3600) for kind in seconds},
        tuple(sorted(latency for result in results for latency in result.latencies)),
        tuple(misses),
        tuple(alarms),
        sum(result.compute for result in results) / (3600 * hours),
        tuple(dict.fromkeys(error for result in results for error in result.errors)),
    )


def by_snr(plans: Sequence[object], results: Sequence[StreamResult], names: Sequence[str]) -> dict[str, StreamSummary]:
    """The same for each signal-to-noise ratio among the plans, in dB; empty for recordings."""
    groups: dict[str, list[StreamResult]] = {}
    for plan, result in zip(plans, results, strict=True):
        if isinstance(plan, StreamPlan):
            groups.setdefault(f"{plan.snr_db:g}", []).append(result)
    return {snr: summarise(group, names) for snr, group in groups.items()}


def all_curves(whole: StreamSummary, grid: Mapping[str, StreamSummary]) -> dict[str, Curve]:
    """The curves of all keywords, of all together, and of all together at each of several ratios, by what they show."""
    curves = {**whole.keywords, "all together": whole.all}
    return curves | {f"all at {snr} dB": summary.all for snr, summary in grid.items() if len(grid) > 1}


def _point_json(point: Point) -> dict[str, Any]:
    return {
        "miss_rate": point.misses.value,
        "interval": point.misses.interval,
        "threshold": point.threshold,
        "false_alarms_per_hour": point.alarms.value,
        "false_alarms_interval": point.alarms.interval,
    }
