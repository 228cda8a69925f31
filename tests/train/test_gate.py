"""The gate of a dynamic model: it learns what it need not hear, streams, and is exported as it is."""

# ruff: noqa: E402
from __future__ import annotations

import copy
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import Tensor

from lcspeech.card import ModelCard
from lcspeech.encoder import Encoder
from lcspeech.errors import UsageError
from lcspeech.gate import Gate
from lcspeech.train.export import export
from lcspeech.train.gate import GateNetwork, GateTrainer, step_frames, to_onnx
from lcspeech.train.install import gated
from lcspeech.train.loop import read_checkpoint
from lcspeech.train.network import Network
from lcspeech.train.run import CHECKPOINT
from lcspeech.units import BLANK, PHONEMES
from tests.train.test_loop import (
    CORPUS,
    FEATURES,
    PLAIN,
    SETTINGS,
    assert_same,
    folder_of,
    killer,
    log_of,
    make_trainer,
)

UNITS = len(PHONEMES)


@pytest.fixture(scope="module")
def behind(tmp_path_factory: pytest.TempPathFactory) -> tuple[Network, ModelCard]:
    """A network that knows its two words by their bands."""
    folder = tmp_path_factory.mktemp("behind")
    plain = PLAIN | {"batch": 8}
    make_trainer(folder, epochs=6, steps_per_epoch=20, hidden=16, learning_rate=0.01, norm_epochs=3, **plain).run()
    return read_checkpoint(folder / CHECKPOINT, FEATURES)


def make_gate_trainer(folder: Path, behind: Network, **changes: Any) -> GateTrainer:
    changes = {"gate_hidden": 8, "reset_probability": 0.1, **changes}
    return GateTrainer(CORPUS, dataclasses.replace(SETTINGS, **changes), FEATURES, folder, behind)


def make_gate(seed: int = 0, hidden: int = 8) -> GateNetwork:
    torch.manual_seed(seed)
    return GateNetwork(FEATURES.n_mels, 4, UNITS, hidden, 1.6).eval()


def features(batch: int, frames: int) -> Tensor:
    return torch.randn(batch, frames, FEATURES.n_mels, generator=torch.Generator().manual_seed(1)) * 3 - 6


def test_pieces_equal_the_whole() -> None:
    gate, x = make_gate(), features(2, 96)
    with torch.no_grad():
        whole = gate(x, gate.initial_state(2))
        state, parts = gate.initial_state(2), []
        for piece in x.split([12, 4, 8, 60, 12], 1):
            *part, state = gate(piece, state)
            parts.append(part)
    for now, expected in zip(zip(*parts, strict=True), whole[:2], strict=True):
        torch.testing.assert_close(torch.cat(now, 1), expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(state, whole[2], atol=1e-5, rtol=0)


def test_what_it_says_for_the_network_is_a_distribution_that_knows_no_unit_but_blank() -> None:
    gate = make_gate()
    _, log_probs, _ = gate(features(1, 48), gate.initial_state(1))
    torch.testing.assert_close(log_probs.exp().sum(2), torch.ones(1, 12), atol=1e-5, rtol=0)
    assert (log_probs[..., BLANK + 1 :] == log_probs[..., BLANK + 1 : BLANK + 2]).all()
    assert log_probs[..., BLANK].std() > 1e-3  # it does follow the sound


def test_it_learns_to_close_within_its_budget(tmp_path: Path, behind: tuple[Network, ModelCard]) -> None:
    changes = {"epochs": 4, "open_epochs": 2, "steps_per_epoch": 40, "learning_rate": 0.01, "average": 0.9}
    trainer = make_gate_trainer(tmp_path, behind[0], compute_budget=0.5, **changes)
    before = {name: value.clone() for name, value in trainer.behind.state_dict().items()}
    trainer.run()
    log = log_of(tmp_path)
    assert log[0].keys() == {
        *("epoch", "paid", "lost", "false_alarms", "blank", "heard_clips", "heard_talk", "gained"),
    }
    assert log[-1]["paid"] < 0.6
    assert log[-1]["lost"] < log[0]["lost"] + 0.2
    assert_same(before, dict(trainer.behind.state_dict()))  # the network behind it stays as it is


def test_what_is_heard_again_is_paid_for(tmp_path: Path, behind: tuple[Network, ModelCard]) -> None:
    trainer = make_gate_trainer(tmp_path, behind[0])
    opened = torch.zeros(1, 10, requires_grad=True)
    steps = torch.zeros(1, 10).index_fill(1, torch.tensor([2, 8, 9]), 1.0) + opened - opened.detach()
    heard = trainer._heard(steps.repeat_interleave(trainer.step, 1)[..., None])
    assert heard.tolist() == [[1, 1, 1, 0, 1, 1, 1, 1, 1, 1]]  # the four steps before it opens, too
    heard.sum().backward()
    assert opened.grad is not None
    assert opened.grad[0, [2, 8, 9]].tolist() == [3, 5, 1]  # what each of them costs


def test_with_a_budget_of_all_it_stays_open(tmp_path: Path, behind: tuple[Network, ModelCard]) -> None:
    trainer = make_gate_trainer(tmp_path, behind[0], epochs=1, steps_per_epoch=30, compute_budget=1.0, average=0.9)
    trainer.run()
    assert log_of(tmp_path)[-1]["heard_clips"] > 0.9


def test_a_resumed_run_is_the_same_to_the_bit(tmp_path: Path, behind: tuple[Network, ModelCard]) -> None:
    whole, killed = folder_of(tmp_path, "whole"), folder_of(tmp_path, "killed")
    make_gate_trainer(whole, behind[0]).run()
    with pytest.raises(KeyboardInterrupt):
        make_gate_trainer(killed, behind[0]).run(killer(5))
    resumed = make_gate_trainer(killed, behind[0])
    resumed.resume()
    resumed.run()
    assert_same(*(torch.load(folder / CHECKPOINT, weights_only=True) for folder in (whole, killed)))


def test_a_run_does_not_go_on_before_another_network(tmp_path: Path, behind: tuple[Network, ModelCard]) -> None:
    make_gate_trainer(tmp_path, behind[0]).run()
    other = copy.deepcopy(behind[0])
    with torch.no_grad():
        next(other.parameters()).add_(0.1)
    with pytest.raises(UsageError, match="was made with other network behind the gate"):
        make_gate_trainer(tmp_path, other).resume()


def test_the_exported_gate_decides_as_torch_does(tmp_path: Path, behind: tuple[Network, ModelCard]) -> None:
    network, card = behind
    gate = make_gate()
    dynamic = gated(card, gate, dataclasses.replace(SETTINGS, gate_hidden=8, gate_doubt=0.5, name="dynamic"))
    assert (dynamic.name, dynamic.hidden) == ("dynamic", 0)
    assert dynamic.parameters == card.parameters + sum(parameter.numel() for parameter in gate.parameters())
    assert dynamic.macs_per_second > card.macs_per_second
    export(network, dynamic, tmp_path / "model.onnx", gate=to_onnx(gate))
    encoder = Encoder((tmp_path / "model.onnx").read_bytes())
    assert encoder.card == dynamic
    exported, x = Gate(encoder), features(1, 120)
    step = step_frames(FEATURES.frame_rate, 4)
    state, decisions, parts = np.zeros((1, 8), np.float32), [], []
    for piece in np.split(x[0].numpy(), [step, 3 * step, 4 * step]):  # its usual numbers of frames, and another
        is_open, log_probs, state = exported.run(piece, state)
        decisions += is_open.tolist()
        parts.append(log_probs)
    with torch.no_grad():
        needed, expected, last = gate(x, gate.initial_state(1))
    assert decisions == (needed[0].sigmoid() >= 0.5).tolist()
    np.testing.assert_allclose(np.concatenate(parts), expected[0], atol=1e-5)
    np.testing.assert_allclose(state, last, atol=1e-5)
