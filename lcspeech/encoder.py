"""The network as onnxruntime runs it: weights that all streams share, and the state of one stream.

Each output frame is a row: log-probs of the units, then, of a verified model, evidence for each word that it knows, or,
of others, the outputs of its GRU, which heads of recorded words read.
"""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lcspeech.card import GATE_KEY, METADATA_KEY, NETWORK_KEY, ModelCard
from lcspeech.errors import ModelError

Floats = NDArray[np.float32]
State = dict[str, Floats]

INPUT = "log_mel"
OUTPUT = "log_probs"
_MAX_STEPS = 256  # output frames per call: 10 s at 40 ms; bounds memory, and more is no faster


class Encoder:
    """``run(log_mel, state) -> (rows, state)``. Holds no stream: one encoder serves any number, in any thread."""

    def __init__(self, model: bytes) -> None:
        """`model` is the content of an ONNX file with its card in the metadata.

        Raises:
            ModelError: if it is no ONNX file, holds no card, or its inputs are not those of the card.
        """
        self.model = model
        self._sessions: dict[int, Any] = {}  # those made for one number of frames
        runtime()
        try:
            self._session = _session(model)
            metadata = self._session.get_modelmeta().custom_metadata_map
        except Exception as error:  # onnxruntime's errors have no common base
            reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
            raise ModelError(f"not a model that onnxruntime can load ({reason}); install it again") from error
        if METADATA_KEY not in metadata:
            raise ModelError("an ONNX model, but not one of lcspeech: it holds no model card; use 'lcspeech export'")
        self.card = ModelCard.from_json(metadata[METADATA_KEY])
        self._gate = metadata.get(GATE_KEY, "")
        self.sha256: str = metadata.get(NETWORK_KEY) or hashlib.sha256(model).hexdigest()  # of the network, or all
        names = [INPUT, *(state.name for state in self.card.states)]
        shapes = {i.name: list(i.shape[1:]) for i in self._session.get_inputs()}
        if set(shapes) != set(names) or any(shapes[s.name] != list(s.shape) for s in self.card.states):
            raise ModelError("the model's inputs are not those of its card; export it again")
        if shapes[INPUT][-1] != self.card.features.n_mels:
            raise ModelError("the model's bands are not those of its card; export it again")
        self.columns: int = next((o.shape[2] for o in self._session.get_outputs() if o.name == OUTPUT), 0)
        if self.columns != self.card.columns:
            raise ModelError("the model's outputs are not those of its card; export it again")
        self._states = [state.name for state in self.card.states]
        self._outputs = [OUTPUT, *(f"new_{name}" for name in self._states)]

    def session(self, frames: int) -> Any:
        """A session for exactly so many frames, made once: with all shapes known, its graph has a third fewer nodes."""
        if frames not in self._sessions:
            time = next(i.shape[1] for i in self._session.get_inputs() if i.name == INPUT)
            self._sessions[frames] = _session(self.model, {time: frames})
        return self._sessions[frames]

    def gate_session(self, frames: int | None) -> Any:
        """A session of the gate in the file, see gate.py, for exactly so many frames or (None) for any number."""
        return _session(base64.b64decode(self._gate), None if frames is None else {"time": frames})

    def initial_state(self) -> State:
        """The state of a stream that has heard nothing yet: one array ``[1, ...]`` per name."""
        return {state.name: np.zeros((1, *state.shape), np.float32) for state in self.card.states}

    def run(self, log_mel: Floats, state: State) -> tuple[Floats, State]:
        """``[frames, bands] -> [frames / stride, columns]``, a multiple of the stride of them; `state` stays."""
        longest = _MAX_STEPS * self.card.time_stride
        parts: list[Floats] = []
        for start in range(0, len(log_mel), longest):
            feeds: dict[str, Any] = {INPUT: log_mel[None, start : start + longest], **state}
            rows, *new = self._session.run(self._outputs, feeds)
            parts.append(rows[0])
            state = dict(zip(self._states, new, strict=True))
        if len(parts) == 1:
            return parts[0], state
        return np.concatenate([np.empty((0, self.columns), np.float32), *parts]), state


class EncoderStream:
    """One stream's way through an encoder. Steps of the usual lengths are cheap: their buffers are bound once.

    onnxruntime reads the state from one set of buffers and writes it to another; the next step goes the other way.
    """

    def __init__(self, encoder: Encoder, steps: Collection[int], state: State) -> None:
        """`steps` are the usual numbers of frames; `state` is copied."""
        self._encoder, self._steps = encoder, steps
        self._states = [{name: array.copy() for name, array in state.items()} for _ in range(2)]
        self._now = 0  # which of the two holds the state
        self._bound: dict[int, _Bound] = {}  # by the number of frames

    @property
    def state(self) -> State:
        """The state as it is now. The next step overwrites it: copy what is to be kept."""
        return self._states[self._now]

    def reset(self, state: State) -> None:
        """Go on from another state, which is copied."""
        for name, array in self.state.items():
            array[:] = state[name]

    def process(self, log_mel: Floats) -> Floats:
        """``[frames, bands] -> [frames / stride, columns]``, frames a multiple of the stride."""
        frames = len(log_mel)
        if not frames:
            return np.empty((0, self._encoder.columns), np.float32)
        if frames not in self._steps:
            rows, state = self._encoder.run(log_mel, self.state)
            self.reset(state)
            return rows
        if frames not in self._bound:
            self._bound[frames] = _Bound(self._encoder, frames, self._states)
        result = self._bound[frames].run(log_mel, self._now)
        self._now = 1 - self._now
        return result


class _Bound:
    """Steps of one length, from the first of two sets of state buffers to the second, and back."""

    def __init__(self, encoder: Encoder, frames: int, states: Sequence[State]) -> None:
        value_of = runtime().OrtValue.ortvalue_from_numpy

        card = encoder.card
        self._session, self._bindings = encoder.session(frames), []
        self._log_mel = np.empty((1, frames, card.features.n_mels), np.float32)
        self._rows = np.empty((1, frames // card.time_stride, encoder.columns), np.float32)
        # These share the arrays' memory
        log_mel, rows = (value_of(array) for array in (self._log_mel, self._rows))
        sets = [{name: value_of(a) for name, a in state.items()} for state in states]
        for old, new in (sets, sets[::-1]):
            binding = self._session.io_binding()
            binding.bind_ortvalue_input(INPUT, log_mel)
            binding.bind_ortvalue_output(OUTPUT, rows)
            for name in old:
                binding.bind_ortvalue_input(name, old[name])
                binding.bind_ortvalue_output(f"new_{name}", new[name])
            self._bindings.append(binding)

    def run(self, log_mel: Floats, now: int) -> Floats:
        """A step that reads the state from the set number `now`."""
        self._log_mel[0] = log_mel
        self._session.run_with_iobinding(self._bindings[now])
        result: Floats = self._rows[0].copy()  # the next step overwrites it
        return result


def runtime() -> Any:
    """onnxruntime, which has been asked to keep to itself: 1.32 makes an identity in the home folder, and reports.

    Whoever imports it before, or sets ``ORT_DISABLE_TELEMETRY`` to something else, has decided otherwise.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        import onnxruntime
    except ImportError as error:
        if isinstance(error.__cause__, KeyboardInterrupt):  # while its extension was loaded
            raise error.__cause__ from None
        raise
    return onnxruntime


def _session(model: bytes, dimensions: dict[str, int] | None = None) -> Any:
    """An onnxruntime session on one core, some of its free dimensions fixed."""
    options = _options()
    for name, size in (dimensions or {}).items():
        options.add_free_dimension_override_by_name(name, size)
    return runtime().InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _options() -> Any:
    options = runtime().SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1  # a second thread does not help so small a net
    options.log_severity_level = 4  # errors are raised; the library need not print them too
    options.add_session_config_entry("session.disable_quant_qdq", "1")  # int8 weights become float now, not in each run
    return options
