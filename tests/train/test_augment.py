"""Augmentation: each function by its law, all of them repeatable and without a trace on their inputs."""

# ruff: noqa: E402
from __future__ import annotations

import math
from collections.abc import Callable

import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Generator, Tensor

from lcspeech.train import augment

FLOOR = math.log(1e-6)


def seeded(seed: int = 0) -> Generator:
    return torch.Generator().manual_seed(seed)


def maps(batch: int = 4, frames: int = 50, bands: int = 40, seed: int = 0) -> Tensor:
    return -5 + 2 * torch.randn(batch, frames, bands, generator=seeded(seed))


ALL: dict[str, Callable[[Tensor, Generator], Tensor]] = {
    "place": lambda x, g: augment.place(x, 80, 10, FLOOR, g),
    "cut": lambda x, g: augment.cut(x, 10, FLOOR, g),
    "colour": lambda x, g: augment.colour(x, 12.0, 8.0, FLOOR, g),
    "stretch": lambda x, g: augment.stretch(x, 0.1, g),
    "mix": lambda x, g: augment.mix(x, maps(seed=1), (0.0, 20.0), 0.5, g),
    "warp": lambda x, g: augment.warp(x, 0.1, g),
    "reverberate": lambda x, g: augment.reverberate(x, 0.5, (10.0, 60.0), g),
    "band_limit": lambda x, g: augment.band_limit(x, 0.5, FLOOR, g),
    "spec_augment": lambda x, g: augment.spec_augment(x, 2, 16, 5, 50, g),
}


@pytest.mark.parametrize("function", ALL.values(), ids=ALL)
def test_repeatable_and_without_a_trace(function: Callable[[Tensor, Generator], Tensor]) -> None:
    x = maps()
    copy = x.clone()
    first = function(x, seeded(1))
    global_state = torch.get_rng_state()
    assert torch.equal(function(x, seeded(1)), first)
    assert any(not torch.equal(function(x, seeded(seed)), first) for seed in (2, 3))
    assert torch.equal(x, copy)
    assert torch.equal(torch.get_rng_state(), global_state)  # no randomness but the generator's
    assert first.dtype == torch.float32
    assert (first.shape[0], first.shape[2]) == (4, 40)
    assert torch.isfinite(first).all()


@pytest.mark.parametrize("name", [name for name in ALL if name != "place"])
def test_the_shape_is_kept(name: str) -> None:
    assert ALL[name](maps(), seeded()).shape == (4, 50, 40)


def test_uniform_stays_in_range_and_fills_it() -> None:
    draws = augment.uniform(-3.0, 5.0, (10_000, 1), seeded())
    assert draws.shape == (10_000, 1)
    assert -3.0 <= draws.min() < -2.95
    assert 4.95 < draws.max() < 5.0
    assert draws.mean().item() == pytest.approx(1.0, abs=0.1)


def test_cut_silences_both_ends_and_nothing_between() -> None:
    x = maps(500, 30, 5)
    cut = augment.cut(x, 10, FLOOR, seeded())
    kept = (cut == x).all(2)
    assert (cut[~kept] == torch.tensor(FLOOR)).all()
    begin, end = kept.int().argmax(1), kept.flip(1).int().argmax(1)
    assert kept.sum(1).equal(30 - begin - end)  # one run
    assert set(begin.tolist()) == set(end.tolist()) == set(range(11))
    assert not begin.equal(end)


@given(st.integers(0, 2**16), st.integers(0, 40), st.integers(0, 20))
@settings(max_examples=20, deadline=None)
def test_place_keeps_each_clip_whole_at_one_offset(seed: int, room: int, trailing: int) -> None:
    clips, frames = maps(3, 20, 5), 20 + room + trailing
    placed = augment.place(clips, frames, trailing, FLOOR, seeded(seed))
    assert placed.shape == (3, frames, 5)
    for row, clip in zip(placed, clips, strict=True):
        offsets = [t for t in range(frames - 19) if torch.equal(row[t : t + 20], clip)]
        assert len(offsets) == 1
        assert offsets[0] <= room
        outside = torch.cat([row[: offsets[0]], row[offsets[0] + 20 :]])
        assert outside.shape == (frames - 20, 5)
        assert (outside == torch.tensor(FLOOR)).all()


def test_place_reaches_both_ends() -> None:
    clips = maps(200, 20, 5)
    placed = augment.place(clips, 30, 7, FLOOR, seeded())
    offsets = (placed[:, :, 0] != torch.tensor(FLOOR)).float().argmax(1)
    assert offsets.unique().tolist() == [0, 1, 2, 3]
    assert torch.equal(augment.place(clips, 20, 0, FLOOR, seeded()), clips)


@given(st.integers(0, 2**16), st.floats(0, 20), st.floats(0, 20))
@settings(max_examples=25, deadline=None)
def test_colour_is_gain_and_slope_over_the_floor(seed: int, gain_db: float, tilt_db: float) -> None:
    x = maps(5, 6, 9)
    y = augment.colour(x, gain_db, tilt_db, FLOOR, seeded(seed))
    assert (y > FLOOR - 1e-4).all()
    change = (y.double().exp() - math.exp(FLOOR)).log() - x.double()  # the floor taken off again
    change_db = change / augment.NATS_PER_DB
    per_row = change_db.mean(1)
    assert (change_db - per_row[:, None]).abs().max() < 0.05  # the same for all frames of a row
    gain, step = per_row[:, 4], per_row.diff(dim=1)
    assert gain.abs().max() <= gain_db + 0.05
    assert (per_row - gain[:, None]).abs().max() <= tilt_db + 0.05
    assert (step - step.mean(1, keepdim=True)).abs().max() < 0.05  # a straight line over the bands


def test_colour_uses_its_range() -> None:
    y = augment.colour(torch.zeros(500, 1, 3), 12.0, 6.0, FLOOR, seeded()) / augment.NATS_PER_DB
    assert y[:, 0, 1].min() < -11.5
    assert y[:, 0, 1].max() > 11.5
    tilt = y[:, 0, 2] - y[:, 0, 1]
    assert -6.01 < tilt.min() < -5.7
    assert 5.7 < tilt.max() < 6.01
    assert pytest.approx(math.log(10)) == augment.NATS_PER_DB * 10


def test_colour_of_nothing_changes_nothing() -> None:
    x = maps()
    torch.testing.assert_close(augment.colour(x, 0.0, 0.0, -100.0, seeded()), x)


def test_stretch_by_nothing_changes_nothing() -> None:
    assert torch.equal(augment.stretch(maps(), 0.0, seeded()), maps())


@given(st.integers(0, 2**16), st.floats(0.01, 0.3))
@settings(max_examples=25, deadline=None)
def test_stretch_reads_a_ramp_at_one_speed(seed: int, amount: float) -> None:
    ramp = torch.arange(50.0)[None, :, None].expand(2, 50, 3)
    y = augment.stretch(ramp, amount, seeded(seed))
    speed = y[0, 1, 0].item()
    assert 1 - amount - 1e-5 <= speed <= 1 + amount + 1e-5
    expected = (torch.arange(50.0) * speed).clamp(max=49)
    torch.testing.assert_close(y, expected[None, :, None].expand_as(y), rtol=1e-4, atol=1e-4)


def test_warp_by_nothing_changes_nothing() -> None:
    torch.testing.assert_close(augment.warp(maps(), 0.0, seeded()), maps())


@given(st.integers(0, 2**16), st.floats(0.01, 0.3))
@settings(max_examples=25, deadline=None)
def test_warp_reads_each_spectrum_at_a_scale_of_its_own(seed: int, amount: float) -> None:
    ramp = torch.arange(40.0).expand(3, 5, 40)
    y = augment.warp(ramp, amount, seeded(seed))
    factors = y[:, 0, 1]
    assert factors.unique().numel() == 3
    assert ((factors >= 1 - amount - 1e-5) & (factors <= 1 + amount + 1e-5)).all()
    expected = (torch.arange(40.0) * factors[:, None]).clamp(max=39)
    torch.testing.assert_close(y, expected[:, None].expand_as(y), rtol=1e-4, atol=1e-4)


def test_a_room_adds_a_tail_that_decays_as_asked() -> None:
    click = torch.full((8, 120, 40), FLOOR)
    click[:, 10] = 0.0
    y = augment.reverberate(click, 1.0, (30.0, 30.0), seeded())
    torch.testing.assert_close(y[:, 10], click[:, 10], rtol=0, atol=1e-4)
    assert (y[:, :10] < FLOOR + 0.7).all()  # the floor's own tail doubles its power at most
    added = y[:, 11:].double().exp() - math.exp(FLOOR)
    tail_db = added.sum(1).log() / augment.NATS_PER_DB
    assert ((tail_db > -15.1) & (tail_db < 0.1)).all()
    fall = (added[:, 0] / added[:, 15]).log() / augment.NATS_PER_DB  # 15 of 30 frames: half of 60 dB
    assert (fall < 30.1).all()
    assert (fall > 20).all()


def test_band_limit_takes_the_edges_and_leaves_the_speech_band() -> None:
    flat = torch.zeros(200, 3, 40)
    y = augment.band_limit(flat, 1.0, FLOOR, seeded())
    assert (y[:, :, 6:28].abs() < 1e-5).all()
    assert y[:, :, 0].mean() < -1
    assert y[:, :, 39].mean() < -3
    assert y.amin() >= FLOOR
    assert y.amax() < 1e-5


@pytest.mark.parametrize("name", ["reverberate", "band_limit"])
def test_the_other_rows_hear_no_room_and_no_telephone(name: str) -> None:
    x = maps(batch=64)
    touched = (ALL[name](x, seeded()) != x).any(2).any(1)
    assert 16 < touched.sum() < 48


def snr(x: Tensor, added: Tensor) -> Tensor:
    """Signal-to-noise ratio in dB per row, from powers: the loudest tenth of frames against the noise's mean."""
    signal = x.double().exp().sum(2).log().quantile(0.9, 1)
    noise = added.double().exp().sum(2).mean(1).log()
    return (signal - noise) / augment.NATS_PER_DB


@pytest.mark.parametrize("asked", [-5.0, 0.0, 12.0])
def test_mix_reaches_the_asked_ratio(asked: float) -> None:
    x, noise = maps().double(), maps(seed=1).double() + 3
    mixed = augment.mix(x, noise, (asked, asked), 1.0, seeded())
    added = (mixed.exp() - x.exp()).log()
    assert snr(x, added).tolist() == pytest.approx([asked] * 4, abs=1e-4)
    shift = (added - noise).mean((1, 2), keepdim=True)
    torch.testing.assert_close(added, noise + shift, rtol=0, atol=1e-4)  # the noise itself, only louder or softer


def test_mix_draws_the_ratio_from_its_range() -> None:
    x, noise = maps(300, 10, 4), maps(300, 10, 4, seed=1)
    mixed = augment.mix(x, noise, (2.0, 10.0), 1.0, seeded())
    ratios = snr(x, (mixed.double().exp() - x.double().exp()).log())
    assert 1.9 < ratios.min() < 2.3
    assert 9.7 < ratios.max() < 10.1


def test_mix_leaves_the_other_rows_alone() -> None:
    x, noise = maps(1_000, 5, 4), maps(1_000, 5, 4, seed=1)
    assert torch.equal(augment.mix(x, noise, (0.0, 10.0), 0.0, seeded()), x)
    untouched = (augment.mix(x, noise, (0.0, 10.0), 0.3, seeded()) == x).all(2).all(1)
    assert untouched.float().mean().item() == pytest.approx(0.7, abs=0.05)


@given(st.integers(0, 2**16), st.integers(0, 3), st.integers(0, 10), st.integers(0, 5))
@settings(max_examples=30, deadline=None)
def test_spec_augment_hides_what_it_may(seed: int, masks: int, max_frames: int, max_bands: int) -> None:
    x = maps(4, 30, 12)
    y = augment.spec_augment(x, masks, max_frames, max_bands, 30, seeded(seed))
    hidden = y != x
    for row in range(4):
        mean = x[row].mean()
        torch.testing.assert_close(y[row][hidden[row]], mean.expand(int(hidden[row].sum())))
        frames, bands = hidden[row].all(1), hidden[row].all(0)
        assert torch.equal(hidden[row], frames[:, None] | bands[None, :])  # whole frames and whole bands, no more
        assert frames.sum() <= masks * max_frames
        assert bands.sum() <= masks * max_bands


def test_spec_augment_masks_as_much_as_asked() -> None:
    x = maps(400, 30, 12)
    frames = (augment.spec_augment(x, 1, 10, 0, 30, seeded()) != x).all(2).sum(1)
    assert frames.unique().tolist() == list(range(11))
    bands = (augment.spec_augment(x, 1, 0, 4, 30, seeded()) != x).all(1).sum(1)
    assert bands.unique().tolist() == list(range(5))
    assert torch.equal(augment.spec_augment(x, 0, 10, 4, 30, seeded()), x)


def test_spec_augment_masks_a_long_row_as_densely_as_a_short_one() -> None:
    x = maps(400, 90, 12)
    frames = (augment.spec_augment(x, 1, 10, 0, 30, seeded()) != x).all(2).float().mean()
    assert frames.item() == pytest.approx(3 * 5 / 90, rel=0.15)
    bands = (augment.spec_augment(x, 1, 0, 4, 30, seeded()) != x).all(1).sum(1)
    assert bands.max() == 4  # one mask, however long the row


def test_spec_augment_may_hide_every_frame_and_band() -> None:
    x = maps(2_000, 10, 10)
    assert (augment.spec_augment(x, 1, 4, 0, 30, seeded()) != x).all(2).any(0).all()
    assert (augment.spec_augment(x, 1, 0, 4, 30, seeded()) != x).all(1).any(0).all()
