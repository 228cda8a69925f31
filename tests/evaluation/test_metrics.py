"""Intervals, held to published and to exactly known values."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lcspeech.evaluation.metrics import Proportion, Rate, _poisson_mean


@pytest.mark.parametrize(
    ("count", "total", "low", "high"),
    [  # Wilson's score interval at 95 %, for 0, 5 and 10 of 10
        (0, 10, 0.0, 0.2775328),
        (5, 10, 0.2365931, 0.7634069),
        (10, 10, 0.7224672, 1.0),
        (81, 263, 0.2553, 0.3662),  # Newcombe 1998, table I
    ],
)
def test_wilson(count: int, total: int, low: float, high: float) -> None:
    assert Proportion(count, total).interval == pytest.approx((low, high), abs=5e-5)
    assert Proportion(count, total).value == count / total


def test_nothing_counted_is_nothing_known() -> None:
    assert Proportion(0, 0).value == 0.0
    assert Proportion(0, 0).interval == (0.0, 1.0)
    assert Rate(0, 0.0).value == math.inf
    assert Rate(0, 0.0).interval == (0.0, math.inf)


@pytest.mark.parametrize(
    ("events", "low", "high"),
    [  # Garwood's exact interval for a Poisson mean at 95 %, published tables
        (0, 0.0, 3.6889),
        (1, 0.0253, 5.5716),
        (2, 0.2422, 7.2247),
        (10, 4.7954, 18.3904),
        (100, 81.3639, 121.6270),
    ],
)
def test_poisson(events: int, low: float, high: float) -> None:
    assert Rate(events, 1.0).interval == pytest.approx((low, high), abs=5e-4)
    assert Rate(events, 4.0).interval == pytest.approx((low / 4, high / 4), abs=5e-4)
    assert Rate(events, 4.0).value == events / 4


@given(st.integers(0, 300), st.floats(0.001, 0.999))
def test_the_poisson_mean_inverts_the_distribution(events: int, probability: float) -> None:
    mean = _poisson_mean(events, probability)
    at_most = math.fsum(math.exp(k * math.log(mean) - mean - math.lgamma(k + 1)) for k in range(events + 1))
    assert at_most == pytest.approx(probability, rel=1e-6)


@given(st.integers(1, 1_000), st.data())
def test_an_interval_holds_its_value(total: int, data: st.DataObject) -> None:
    part = Proportion(data.draw(st.integers(0, total)), total)
    low, high = part.interval
    assert 0 <= low <= part.value + 1e-12
    assert part.value - 1e-12 <= high <= 1


@pytest.mark.parametrize("total", range(1, 400, 7))
def test_none_and_all_are_ends_of_their_intervals(total: int) -> None:
    assert Proportion(0, total).interval[0] == 0.0
    assert Proportion(total, total).interval[1] == 1.0
