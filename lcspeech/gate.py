"""A dynamic model's gate: a network a twentieth as large decides, step by step, when the encoder is to listen.

Where it stays closed, the search is told the gate's own guess of blank. When it opens, the encoder hears what it missed
and goes on as if it had never rested; or, if that is too much, it starts from silence and hears the last moments, so
that nothing is cut off. Decisions fall at fixed places of the stream, whatever blocks it comes in. When a stream begins
the gate is open: it has heard nothing yet that a voice could stand out from.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from lcspeech.card import GateSettings
from lcspeech.encoder import INPUT, Encoder, EncoderStream, State
from lcspeech.errors import ModelError

Floats = NDArray[np.float32]

STATE = "state"
BEGIN_SECONDS = 1.5  # for which it is open at first: a clip of one word is heard whole
_USUAL = (1, 2, 3)  # of the gate's steps, that a stream hears at a time


class Gate:
    """``run(log_mel [frames, bands], state) -> (open, log_probs, state)``. Holds no stream."""

    def __init__(self, encoder: Encoder) -> None:
        """The gate that is in the encoder's file.

        Raises:
            ModelError: if there is none that can be run.
        """
        self.settings: GateSettings = encoder.card.gate
        self._least = math.log(self.settings.doubt / (1 - self.settings.doubt))  # log-odds
        try:
            usual = [count * self.settings.step for count in _USUAL]
            self._sessions = {frames: encoder.gate_session(frames) for frames in (*usual, None)}
            silence = np.zeros((self.settings.step, encoder.card.features.n_mels), np.float32)
            self.run(silence, np.zeros((1, self.settings.hidden), np.float32))
        except Exception as error:  # onnxruntime's errors have no common base
            raise ModelError("the model's card names a gate that its file does not hold; export it again") from error

    def run(self, log_mel: Floats, state: Floats) -> tuple[NDArray[np.bool_], Floats, Floats]:
        """Is the encoder needed in each output frame? And what to take for its log-probs there if it is not."""
        session = self._sessions.get(len(log_mel), self._sessions[None])
        needed, log_probs, state = session.run(None, {INPUT: log_mel[None], STATE: state})
        return needed[0] >= self._least, log_probs[0], state


class GatedStream:
    """Like `EncoderStream`, with a gate in front."""

    def __init__(self, encoder: Encoder, gate: Gate, quiet: State, state: State | None = None) -> None:
        """`quiet` is the encoder's state in silence, from which it starts when the gate opens; `state` is copied."""
        self._gate, self._quiet = gate, quiet
        settings, card = gate.settings, encoder.card
        self._replay, self._stride = settings.replay, card.time_stride
        if state is None:
            begin = round(BEGIN_SECONDS * card.features.frame_rate)
            silence = np.full((settings.replay, card.features.n_mels), np.log(card.features.floor), np.float32)
            state = {
                **quiet,
                "gate": np.zeros((1, settings.hidden), np.float32),
                "past": silence,  # log-mel of the last moments
                # Frames that the encoder missed since it was open, as far as they count, those until the next decision,
                # and those for which the gate is open whatever is decided
                "counts": np.array([0, settings.step, begin], np.float32),
                "evidence": np.zeros(encoder.columns - len(card.units), np.float32),  # of the last row
            }
        own = {name: state[name] for name in quiet}
        usual = range(settings.step, settings.replay + max(_USUAL) * settings.step + 1, settings.step)
        self._encoder, self._stream = encoder, EncoderStream(encoder, usual, own)
        self._gate_state, self._past, self._evidence = (state[name].copy() for name in ("gate", "past", "evidence"))
        self._missed, self._due, self._begin = (int(count) for count in state["counts"])

    @property
    def state(self) -> State:
        """The state as it is now. The next step overwrites it: copy what is to be kept."""
        counts = np.array([self._missed, self._due, self._begin], np.float32)
        own = {"gate": self._gate_state, "past": self._past, "counts": counts, "evidence": self._evidence}
        return {**self._stream.state, **own}

    def process(self, log_mel: Floats) -> Floats:
        """``[frames, bands] -> [frames / stride, columns]``, frames a multiple of the stride.

        Each of the frames up to the next decision is decided on now, be they fewer or not: no others come.
        """
        if not len(log_mel):
            return np.empty((0, self._encoder.columns), np.float32)
        units, words, parts = len(self._encoder.card.units), len(self._evidence), []
        heard, stride = np.concatenate([self._past, log_mel]), self._stride
        needed, closed, self._gate_state = self._gate.run(log_mel, self._gate_state)
        # A step's first output frame decides: what comes later must not change it
        decided = [
            (is_first or bool(needed[start // stride]), start, end)
            for is_first, start, end in self._steps(len(log_mel))
        ]
        for is_open, steps in groupby(decided, key=lambda step: step[0]):
            run = list(steps)
            start, end = run[0][1], run[-1][2]
            if is_open:
                if self._missed > self._replay:
                    self._stream.reset(self._quiet)
                again = min(self._missed, self._replay)
                rows = self._stream.process(heard[self._replay + start - again : self._replay + end])[again // stride :]
                self._missed, self._evidence = 0, rows[-1, units:]
            else:
                guess = closed[start // stride : end // stride]
                # A word may have ended in the last moments: what was known of it then still holds
                rows = np.concatenate([guess, np.broadcast_to(self._evidence, (len(guess), words))], 1)
                self._missed = min(self._missed + end - start, self._replay + stride)
            parts.append(rows)
        self._past = heard[len(log_mel) :]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _steps(self, frames: int) -> Iterator[tuple[bool, int, int]]:
        """Whether each of the steps in the next `frames` is among a stream's first, and where it begins and ends."""
        start = 0
        while start < frames:
            end = min(start + self._due, frames)
            self._due -= end - start
            self._due = self._due or self._gate.settings.step
            yield self._begin > 0, start, end
            self._begin = max(0, self._begin - (end - start))
            start = end
