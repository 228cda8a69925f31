"""The export's gate: torch and onnxruntime agree over odd chunks, or nothing is written."""

# ruff: noqa: E402
from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")

from lcspeech.card import DataSource, FeatureSettings, ModelCard, WordSpec
from lcspeech.encoder import Encoder
from lcspeech.errors import ModelError
from lcspeech.train import export as module
from lcspeech.train.export import export, macs_per_second, parity, to_onnx
from lcspeech.train.network import Network, NetworkSettings
from lcspeech.units import PHONEMES
from tests.train.conftest import settle

FEATURES = FeatureSettings()


@pytest.fixture(scope="module")
def network() -> Network:
    torch.manual_seed(0)
    network = Network(NetworkSettings(0.25, 16, 0.1), FEATURES, len(PHONEMES))
    log_mel = -6 + 3 * torch.randn(4, 80, FEATURES.n_mels)
    network.set_normalisation(log_mel.mean((0, 1)), log_mel.std((0, 1)))
    settle(network, log_mel, network.initial_state(4))
    return network


@pytest.fixture(scope="module")
def card(network: Network) -> ModelCard:
    return ModelCard(
        name="made-up",
        description="Random weights",
        units=PHONEMES.symbols,
        time_stride=network.time_stride,
        states=network.state_specs(),
        keywords=(WordSpec("yes", (("Y", "EH", "S"),)),),
        fillers=(),
        parameters=sum(p.numel() for p in network.parameters()),
        licence="Apache-2.0",
        data=(DataSource("None", "CC0", "https://example.org", "nothing"),),
    )


def test_the_file_computes_what_torch_computes(network: Network, card: ModelCard, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    difference = export(network, card, path)
    assert difference <= 1e-4
    encoder = Encoder(path.read_bytes())
    assert difference == parity(network, encoder)
    assert encoder.card == card
    assert list(tmp_path.iterdir()) == [path]


def test_int8_is_rounded_after_the_gate(network: Network, card: ModelCard, tmp_path: Path) -> None:
    exact, rounded = tmp_path / "exact.onnx", tmp_path / "int8.onnx"
    assert export(network, card, exact) == export(network, card, rounded, int8=True) <= 1e-4
    assert rounded.stat().st_size < exact.stat().st_size
    assert parity(network, Encoder(rounded.read_bytes())) > 1e-4


def test_macs_are_those_of_the_layers(network: Network) -> None:
    frames, channels = 25, network.gru.input_size
    macs = macs_per_second(network, 100)
    gru, head = 3 * 16 * (channels + 16), 16 * len(PHONEMES)
    stem = 50 * 20 * network.trunk.stem.out_channels * 9  # 3 x 3, at half the time and frequency
    first = 50 * 20 * network.trunk.blocks[0].depthwise.out_channels * 9
    assert frames * (gru + head) + stem + first < macs
    hooks = [m for m in network.modules() if m._forward_hooks]
    assert hooks == []

    class Tail(torch.nn.Module):
        """Only what comes after the trunk."""

        time_stride, mean = 4, network.mean

        def __init__(self) -> None:
            super().__init__()
            self.gru, self.head = network.gru, network.head

        def initial_state(self, _: int) -> None:
            return None

        def forward(self, x: torch.Tensor, _: None) -> torch.Tensor:
            y, _last = self.gru(torch.zeros(1, x.shape[1] // 4, channels))
            return self.head(y)

    assert macs_per_second(Tail(), 100) == frames * (gru + head)  # type: ignore[arg-type]
    assert macs_per_second(Tail(), 50) == round(50 / 48 * 12 * (gru + head))  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", range(3))
def test_any_pieces_give_what_torch_gives_on_the_whole(network: Network, card: ModelCard, seed: int) -> None:
    encoder = Encoder(to_onnx(network, card).SerializeToString())
    random = np.random.default_rng(seed)
    log_mel = random.normal(-6, 3, (400, FEATURES.n_mels)).astype(np.float32)
    with torch.no_grad():
        expected, end = network(torch.from_numpy(log_mel)[None], network.initial_state(1))
    state, start, parts = encoder.initial_state(), 0, []
    while start < len(log_mel):
        size = 4 * int(random.integers(1, 20))
        part, state = encoder.run(log_mel[start : start + size], state)
        parts.append(part)
        start += size
    np.testing.assert_allclose(np.concatenate(parts), expected[0].numpy(), rtol=0, atol=1e-4)
    for spec, array in zip(network.state_specs(), end, strict=True):
        np.testing.assert_allclose(state[spec.name], array.numpy(), rtol=0, atol=1e-4)


def test_the_graph_takes_log_mel_and_states_and_leaves_time_free(network: Network, card: ModelCard) -> None:
    model = to_onnx(network, card)
    shapes = {
        value.name: [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]
        for value in (*model.graph.input, *model.graph.output)
    }
    assert shapes["log_mel"] == [1, "time", 40]
    assert shapes["log_probs"] == [1, "steps", 40]
    for spec in network.state_specs():
        assert shapes[spec.name] == shapes[f"new_{spec.name}"] == [1, *spec.shape]
    assert len(shapes) == 2 + 2 * len(network.state_specs())
    assert ModelCard.from_json(model.metadata_props[0].value) == card
    assert not any(node.doc_string for node in model.graph.node)


@pytest.mark.parametrize("difference", [1.1e-4, float("nan")])
def test_a_model_that_differs_is_not_written(
    network: Network, card: ModelCard, difference: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"the one before")
    monkeypatch.setattr(module, "parity", lambda *_: difference)
    with pytest.raises(ModelError, match=r"differs from torch by .*; nothing was written"):
        export(network, card, path)
    assert path.read_bytes() == b"the one before"
    assert list(tmp_path.iterdir()) == [path]


def test_the_gate_sees_one_changed_weight(network: Network, card: ModelCard) -> None:
    model = to_onnx(network, card)
    gru = next(node for node in model.graph.node if node.op_type == "GRU")
    (attribute,) = (a for a in gru.attribute if a.name == "linear_before_reset")
    assert attribute.i == 1
    attribute.i = 0  # what exporters got wrong: torch applies the reset gate after the product
    assert parity(network, Encoder(model.SerializeToString())) > 1e-4


def test_another_card_leaves_the_network_the_same(network: Network, card: ModelCard, tmp_path: Path) -> None:
    sums = []
    for i, made in enumerate((card, dataclasses.replace(card, description="Another"))):
        export(network, made, tmp_path / f"{i}.onnx")
        sums.append(Encoder((tmp_path / f"{i}.onnx").read_bytes()).sha256)
    with torch.no_grad():
        network.head.bias[0] += 1
        export(network, card, tmp_path / "moved.onnx")
        network.head.bias[0] -= 1
    assert sums[0] == sums[1] != Encoder((tmp_path / "moved.onnx").read_bytes()).sha256
