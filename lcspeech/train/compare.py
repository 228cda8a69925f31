"""What networks that label clips cost: multiply-accumulates, and clips a second through onnxruntime on one thread."""

from __future__ import annotations

import io
import statistics
import time
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from lcspeech.encoder import runtime
from lcspeech.train.export import OPSET

ROUNDS = 15  # in which the networks take turns, so that what slows the machine slows all of them
CLIPS = 60  # that each labels in a round


def clips_per_second(networks: Sequence[nn.Module], frames: int, bands: int) -> list[float]:
    """The median over rounds of clips that each network labels in a second, one at a time: ``[1, frames, bands]``."""
    x = {"log_mel": np.random.default_rng(0).standard_normal((1, frames, bands)).astype(np.float32)}
    sessions = [_session(network, frames, bands) for network in networks]
    seconds: list[list[float]] = [[] for _ in sessions]
    for _ in range(ROUNDS):
        for session, times in zip(sessions, seconds, strict=True):
            session.run(None, x)  # warm again after the others
            started = time.process_time()
            for _ in range(CLIPS):
                session.run(None, x)
            times.append((time.process_time() - started) / CLIPS)
    return [1 / statistics.median(times) for times in seconds]


def _session(network: nn.Module, frames: int, bands: int) -> Any:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "legacy exporter", as in export.py
        example = torch.zeros(1, frames, bands)
        torch.onnx.export(
            network.eval(),
            (example,),
            buffer,  # type: ignore[arg-type]
            input_names=["log_mel"],
            opset_version=OPSET,
            dynamo=False,
        )
    options = runtime().SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return runtime().InferenceSession(buffer.getvalue(), options, providers=["CPUExecutionProvider"])
