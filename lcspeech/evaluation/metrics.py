"""Figures with their uncertainty: a proportion with its Wilson interval, a rate per hour with its Poisson interval."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Proportion:
    """So many of so many."""

    count: int
    total: int

    @property
    def value(self) -> float:
        """In [0, 1]; 0 if there was nothing to count."""
        return self.count / self.total if self.total else 0.0

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's score interval (1927): sound near 0 and 1, where the usual one is not."""
        if not self.total:
            return 0.0, 1.0
        z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
        spread = z * math.sqrt(self.value * (1 - self.value) / self.total + (z / (2 * self.total)) ** 2)
        centre, scale = self.value + z * z / (2 * self.total), 1 + z * z / self.total
        low, high = (centre - spread) / scale, (centre + spread) / scale
        return low if self.count else 0.0, high if self.count < self.total else 1.0  # exact, but for rounding


@dataclass(frozen=True)
class Rate:
    """So many events in so many hours."""

    events: int
    hours: float

    @property
    def value(self) -> float:
        """Events per hour; infinite if no time was heard."""
        return self.events / self.hours if self.hours else math.inf

    @property
    def interval(self) -> tuple[float, float]:
        """The exact Poisson interval (Garwood 1936), in events per hour."""
        if not self.hours:
            return 0.0, math.inf
        tail = (1 - CONFIDENCE) / 2
        low = _poisson_mean(self.events - 1, 1 - tail) if self.events else 0.0
        return low / self.hours, _poisson_mean(self.events, tail) / self.hours


def _poisson_mean(events: int, probability: float) -> float:
    """The mean at which `events` or fewer have the given probability, by bisection."""
    low, high = 0.0, 10.0 * (events + 10)
    for _ in range(100):
        mean = (low + high) / 2
        at_most = math.fsum(math.exp(k * math.log(mean) - mean - math.lgamma(k + 1)) for k in range(events + 1))
        low, high = (mean, high) if at_most > probability else (low, mean)
    return (low + high) / 2
