"""Weights of 8 bits: rounded as they should be, and gone from the graph once it is loaded."""

# ruff: noqa: E402
from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

onnx = pytest.importorskip("onnx")
torch = pytest.importorskip("torch")

from onnx import numpy_helper

from lcspeech.encoder import Encoder, _options
from lcspeech.train.install import export_checkpoint
from lcspeech.train.quantise import LEAST, quantise, to_int8

CHECKPOINT = Path(__file__).parents[2] / "pretrained" / "commands-tiny.pt"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> onnx.ModelProto:
    folder = tmp_path_factory.mktemp("float32")
    export_checkpoint(CHECKPOINT, folder)
    return onnx.load(folder / "model.onnx")


def test_integers_times_scales_are_the_weights_to_half_a_step() -> None:
    weight = np.random.default_rng(0).normal(0, [[1.0], [0.01], [0.0]], (3, 50)).astype(np.float32)
    integers, scales = to_int8(weight, 0)
    assert integers.dtype == np.int8
    assert np.abs(integers[:2].astype(int)).max(1).tolist() == [127, 127]  # each channel fills the range
    assert (np.abs(integers * scales[:, None] - weight) <= 0.5001 * scales[:, None]).all()
    assert not integers[2].any()
    transposed, same = to_int8(weight.T, 1)
    np.testing.assert_array_equal(transposed, integers.T)
    np.testing.assert_array_equal(same, scales)


def test_large_weights_are_int8_and_the_others_as_they_were(model: onnx.ModelProto) -> None:
    small = quantise(model)
    before = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    after = {t.name: numpy_helper.to_array(t) for t in small.graph.initializer}
    rounded = {name.removesuffix("_int8") for name in after if name.endswith("_int8")}
    grus = {name for node in model.graph.node if node.op_type == "GRU" for name in node.input[1:3]}
    assert grus <= rounded
    for name in rounded:
        assert before[name].size >= LEAST
        assert name not in after
    for name in before.keys() - rounded:
        np.testing.assert_array_equal(after[name], before[name])
    assert len(small.SerializeToString()) < 0.36 * len(model.SerializeToString())
    assert small.metadata_props == model.metadata_props
    assert not any(node.op_type == "DequantizeLinear" for node in model.graph.node)  # a copy


def test_the_loaded_graph_holds_no_integers(model: onnx.ModelProto, tmp_path: Path) -> None:
    options = _options()
    options.optimized_model_filepath = str(tmp_path / "loaded.onnx")
    session = onnxruntime.InferenceSession(quantise(model).SerializeToString(), options)
    assert session.get_inputs()[0].name == "log_mel"
    assert not any(node.op_type == "DequantizeLinear" for node in onnx.load(tmp_path / "loaded.onnx").graph.node)


def test_log_probs_differ_little(model: onnx.ModelProto) -> None:
    log_mel = np.random.default_rng(0).normal(-6, 3, (400, 40)).astype(np.float32)
    exact, rounded = (Encoder(m.SerializeToString()) for m in (model, quantise(model)))
    assert rounded.card == exact.card
    expected, _ = exact.run(log_mel, exact.initial_state())
    found, _ = rounded.run(log_mel, rounded.initial_state())
    units = len(exact.card.units)
    difference = np.abs(np.exp(found[:, :units]) - np.exp(expected[:, :units])).max()
    assert 0 < difference < 0.05
    assert np.abs(found[:, units:] - expected[:, units:]).max() < 0.5  # nats of evidence
