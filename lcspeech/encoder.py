"""The network as onnxruntime runs it: weights that all streams share, and the state of one stream."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lcspeech.card import METADATA_KEY, ModelCard
from lcspeech.errors import ModelError

Floats = NDArray[np.float32]
State = dict[str, Floats]

INPUT = "log_mel"
OUTPUT = "log_probs"
_MAX_STEPS = 256  # output frames per call: 10 s at 40 ms; bounds memory, and more is no faster


class Encoder:
    """``run(log_mel, state) -> (log_probs, state)``. Holds no stream: one encoder serves any number, in any thread."""

    def __init__(self, model: bytes) -> None:
        """`model` is the content of an ONNX file with its card in the metadata.

        Raises:
            ModelError: if it is no ONNX file, holds no card, or its inputs are not those of the card.
        """
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1  # a second thread does not help so small a net
        options.log_severity_level = 4  # errors are raised; the library need not print them too
        try:
            self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
            metadata = self._session.get_modelmeta().custom_metadata_map
        except Exception as error:  # onnxruntime's errors have no common base
            reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
            raise ModelError(f"not a model that onnxruntime can load ({reason}); install it again") from error
        if METADATA_KEY not in metadata:
            raise ModelError("an ONNX model, but not one of lcspeech: it holds no model card; use 'lcspeech export'")
        self.card = ModelCard.from_json(metadata[METADATA_KEY])
        names = [INPUT, *(state.name for state in self.card.states)]
        shapes = {i.name: list(i.shape[1:]) for i in self._session.get_inputs()}
        if set(shapes) != set(names) or any(shapes[s.name] != list(s.shape) for s in self.card.states):
            raise ModelError("the model's inputs are not those of its card; export it again")
        self._states = [state.name for state in self.card.states]
        self._outputs = [OUTPUT, *(f"new_{name}" for name in self._states)]

    def initial_state(self) -> State:
        """The state of a stream that has heard nothing yet: one array ``[1, ...]`` per name."""
        return {state.name: np.zeros((1, *state.shape), np.float32) for state in self.card.states}

    def run(self, log_mel: Floats, state: State) -> tuple[Floats, State]:
        """``[frames, bands] -> [frames / stride, units]``, frames a multiple of the stride; `state` is not changed."""
        longest = _MAX_STEPS * self.card.time_stride
        parts: list[Floats] = []
        for start in range(0, len(log_mel), longest):
            feeds: dict[str, Any] = {INPUT: log_mel[None, start : start + longest], **state}
            log_probs, *new = self._session.run(self._outputs, feeds)
            parts.append(log_probs[0])
            state = dict(zip(self._states, new, strict=True))
        if len(parts) == 1:
            return parts[0], state
        return np.concatenate([np.empty((0, len(self.card.units)), np.float32), *parts]), state
