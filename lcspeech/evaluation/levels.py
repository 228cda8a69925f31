"""How loud a recording is, and where its word lies."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

LEVEL = 0.05  # that speech is brought to, root mean square
_VOICED_DB = 25.0  # below its loudest 20 ms, a clip's word begins and ends


def voiced(samples: Floats, sample_rate: int) -> tuple[float, float]:
    """Start and end in seconds of the word in a clip: where 20 ms come within 25 dB of the loudest."""
    loud = np.flatnonzero(_loud(samples, sample_rate))
    return float(loud[0] / sample_rate), float(loud[-1] / sample_rate)


def loud_seconds(samples: Floats, sample_rate: int) -> float:
    """How long a recording is within 25 dB of its loudest 20 ms: its words without the pauses around and between."""
    return float(_loud(samples, sample_rate).sum() / sample_rate) if len(samples) else 0.0


def active_level(samples: Floats, sample_rate: int) -> float:
    """Root mean square of the loud parts, those that `voiced` looks for: pauses in speech do not lower its level."""
    return rms(samples[_loud(samples, sample_rate)]) if len(samples) else 0.0


def levelled(samples: Floats, sample_rate: int, level: float = LEVEL) -> Floats:
    """Samples whose loud parts have a root mean square of `level`."""
    return samples * np.float32(level / max(1e-6, active_level(samples, sample_rate)))


def rms(samples: Floats) -> float:
    """Root mean square; 0 of nothing."""
    return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64)))) if len(samples) else 0.0


def peak_frame_level(samples: Floats, frame: int) -> float:
    """Root mean square of the loudest of the whole frames of so many samples; 0 if there is none."""
    frames = samples[: len(samples) // frame * frame].reshape(-1, frame).astype(np.float64)
    return float(np.sqrt(np.mean(frames**2, axis=1)).max()) if len(frames) else 0.0


def _loud(samples: Floats, sample_rate: int) -> NDArray[np.bool_]:
    frame = sample_rate // 50
    around = np.convolve(samples**2, np.ones(frame))[(frame - 1) // 2 :]
    power = around[: len(samples)]
    return np.asarray(power >= power.max() / 10 ** (_VOICED_DB / 10))
