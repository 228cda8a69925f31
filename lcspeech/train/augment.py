"""Augmentation of log-mel maps ``[batch, frames, bands]``: pure functions with an explicit generator, on its device.

Sounds add up in power, so mixing is ``logaddexp``, and gain and microphone colour are additions: everything happens
on stored features, at a small part of a training step's time.
"""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

NATS_PER_DB = math.log(10) / 10


def uniform(low: float, high: float, shape: tuple[int, ...], generator: Generator) -> Tensor:
    """Uniform draws from [low, high)."""
    return low + (high - low) * torch.rand(shape, generator=generator, device=generator.device)


def place(clips: Tensor, frames: int, trailing: int, floor: float, generator: Generator) -> Tensor:
    """Put each clip at a random place in `frames` frames of digital silence, with at least `trailing` frames after."""
    room = frames - trailing - clips.shape[1]
    offsets = torch.randint(room + 1, (len(clips), 1, 1), generator=generator, device=clips.device)
    padded = clips.new_full((len(clips), frames, clips.shape[2]), floor)
    index = offsets + torch.arange(clips.shape[1], device=clips.device)[None, :, None]
    return padded.scatter(1, index.expand_as(clips), clips)


def cut(clips: Tensor, longest: int, floor: float, generator: Generator) -> Tensor:
    """Silence up to `longest` frames at either end of each clip: recorders start late and stop early."""
    frames = clips.shape[1]
    begin, end = torch.randint(longest + 1, (2, len(clips), 1, 1), generator=generator, device=clips.device)
    position = torch.arange(frames, device=clips.device)[None, :, None]
    return torch.where((position >= begin) & (position < frames - end), clips, floor)


def colour(x: Tensor, gain_db: float, tilt_db: float, floor: float, generator: Generator) -> Tensor:
    """Random loudness (± `gain_db`) and a random spectral slope (± `tilt_db` from the middle to either end)."""
    gain = uniform(-gain_db, gain_db, (len(x), 1, 1), generator)
    slope = uniform(-tilt_db, tilt_db, (len(x), 1, 1), generator)
    slope = slope * torch.linspace(-1, 1, x.shape[2], device=x.device)
    return torch.logaddexp(x + (gain + slope) * NATS_PER_DB, x.new_tensor(floor))


def stretch(x: Tensor, amount: float, generator: Generator) -> Tensor:
    """Change the speed of the whole batch by up to ± `amount` (linear interpolation over time), keeping its length."""
    speed = float(uniform(1 - amount, 1 + amount, (1,), generator))
    frames = x.shape[1]
    position = (torch.arange(frames, dtype=torch.float32, device=x.device) * speed).clamp(max=frames - 1)
    left = position.floor().long().clamp(max=frames - 2)
    share = (position - left)[None, :, None]
    return x[:, left] * (1 - share) + x[:, left + 1] * share


def warp(x: Tensor, amount: float, generator: Generator) -> Tensor:
    """Stretch each row's spectrum by up to ± `amount`, as a longer or shorter vocal tract would (VTLP, Jaitly 2013)."""
    bands = x.shape[2]
    factor = uniform(1 - amount, 1 + amount, (len(x), 1), generator)
    position = (torch.arange(bands, device=x.device) * factor).clamp(max=bands - 1)
    left = position.floor().long().clamp(max=bands - 2)
    share = (position - left)[:, None]
    low, high = (x.gather(2, index[:, None].expand_as(x)) for index in (left, left + 1))
    return low * (1 - share) + high * share


def mix(x: Tensor, noise: Tensor, snr_db: tuple[float, float], probability: float, generator: Generator) -> Tensor:
    """Add `noise`, of the same shape, at a random signal-to-noise ratio, to a random part of the rows.

    The signal's level is that of its loudest tenth of frames, so that a short word in a long pause counts as it sounds.
    """
    loud = x.logsumexp(2).quantile(0.9, 1)
    level = noise.logsumexp(2).logsumexp(1) - math.log(noise.shape[1])
    snr = uniform(*snr_db, (len(x),), generator) * NATS_PER_DB
    chosen = uniform(0, 1, (len(x),), generator) < probability
    shift = torch.where(chosen, loud - level - snr, -math.inf)
    return torch.logaddexp(x, noise + shift[:, None, None])


def reverberate(x: Tensor, probability: float, rt60: tuple[float, float], generator: Generator) -> Tensor:
    """Put a random part of the rows in a synthetic room: a decaying tail follows every sound, 0 to 15 dB below it.

    The tail falls by 60 dB in `rt60`, a range in frames, and its power adds to what is heard meanwhile.
    """
    chosen = uniform(0, 1, (len(x), 1, 1), generator) < probability
    decay = 10 ** (-6 / uniform(*rt60, (len(x), 1, 1), generator))
    tail_db = uniform(-15, 0, (len(x), 1, 1), generator)
    power = x.exp()
    tail = F.pad(power, (0, 0, 1, -1)) * decay
    lag = 1
    while lag < x.shape[1]:  # each turn doubles how many frames back the sum reaches
        tail = tail + F.pad(tail, (0, 0, lag, -lag)) * decay**lag
        lag *= 2
    tail = tail * 10 ** (tail_db / 10) * (1 - decay) / decay  # whose whole power is then `tail_db` below the sound's
    return torch.where(chosen, (power + tail).log(), x)


def band_limit(x: Tensor, probability: float, floor: float, generator: Generator) -> Tensor:
    """Take lows and highs from a random part of the rows: at most what a telephone lacks (300 to 3400 Hz of 8 kHz)."""
    bands = x.shape[2]
    chosen = uniform(0, 1, (len(x), 1, 1), generator) < probability
    lowest = uniform(0, 0.14 * bands, (len(x), 1, 1), generator)  # on the mel scale
    highest = uniform(0.7 * bands, bands, (len(x), 1, 1), generator)
    band = torch.arange(bands, device=x.device)
    outside = (lowest - band).clamp(min=0) + (band - highest).clamp(min=0)
    limited = torch.logaddexp(x - 6 * NATS_PER_DB * outside, x.new_tensor(floor))  # 6 dB a band
    return torch.where(chosen, limited, x)


def spec_augment(
    x: Tensor, masks: int, max_frames: int, max_bands: int, segment_frames: int, generator: Generator
) -> Tensor:
    """SpecAugment (arXiv 1904.08779): `masks` masks over bands, and as many over time for each `segment_frames`.

    They are filled with the row's mean.
    """
    batch, frames, bands = x.shape
    fill = x.mean((1, 2), keepdim=True)
    hidden = torch.zeros(batch, frames, bands, dtype=torch.bool, device=x.device)
    over_time = masks * max(1, frames // segment_frames)
    for count, size, longest, shape in (
        (over_time, frames, max_frames, (-1, frames, 1)),
        (masks, bands, max_bands, (-1, 1, bands)),
    ):
        for _ in range(count):
            width = torch.randint(longest + 1, (batch, 1), generator=generator, device=x.device)
            start = (uniform(0, 1, (batch, 1), generator) * (size - width + 1)).long()
            position = torch.arange(size, device=x.device)[None]
            hidden |= ((position >= start) & (position < start + width)).view(shape)
    return torch.where(hidden, fill, x)
