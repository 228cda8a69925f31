"""Muon: which weights it takes, and the steps it makes of their gradients."""

# ruff: noqa: E402
from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from torch import Tensor, nn

from lcspeech.card import FeatureSettings
from lcspeech.train.muon import Muon, matrices, orthogonal
from lcspeech.train.network import Network, NetworkSettings


def singular_values(matrix: Tensor) -> Tensor:
    values: Tensor = torch.linalg.svdvals(matrix)
    return values


@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 24, 8), (2, 8, 24)])
def test_orthogonal_keeps_directions_and_evens_out_their_sizes(shape: tuple[int, ...]) -> None:
    stack = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    flat = orthogonal(stack)
    assert flat.shape == stack.shape
    for given, got in zip(stack, flat, strict=True):
        values = singular_values(got)
        assert 0.5 < float(values.min()) <= float(values.max()) < 1.3
        assert float(singular_values(given).max() / singular_values(given).min()) > float(values.max() / values.min())
        u, _, v = torch.linalg.svd(given, full_matrices=False)
        inside = u.T @ got @ v.T  # diagonal, if got has the directions of given
        torch.testing.assert_close(inside, torch.diag(inside.diagonal()), atol=1e-4, rtol=0)


def test_a_zero_gradient_moves_nothing() -> None:
    weight = nn.Parameter(torch.ones(4, 4))
    weight.grad = torch.zeros(4, 4)
    Muon({weight: 1}, lr=0.1).step()
    assert torch.equal(weight, torch.ones(4, 4))


def test_it_takes_the_gru_and_the_pointwise_convolutions_alone() -> None:
    network = Network(NetworkSettings(0.25, 16), FeatureSettings(), 40)
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    taken = {names[id(weight)]: count for weight, count in matrices(network).items()}
    pointwise = {f"trunk.blocks.{i}.pointwise.weight": 1 for i in range(13)}
    assert taken == {"gru.weight_ih_l0": 3, "gru.weight_hh_l0": 3, **pointwise}


def test_each_gate_of_a_gru_is_a_matrix_of_its_own() -> None:
    weight = nn.Parameter(torch.zeros(12, 4))
    weight.grad = torch.randn(12, 4, generator=torch.Generator().manual_seed(0))
    weight.grad[:4] *= 1000  # would be all that is seen of one large matrix
    Muon({weight: 3}, lr=0.5).step()
    for gate in weight.detach().split(4):
        assert float(singular_values(gate).min()) > 0.5 * 0.5


def test_it_finds_a_minimum_where_directions_differ_in_curvature() -> None:
    target = torch.randn(8, 8, generator=torch.Generator().manual_seed(0))
    scale = torch.logspace(0, 3, 8)
    weight = nn.Parameter(torch.zeros(8, 8))
    optimiser = Muon({weight: 1}, lr=0.1)
    schedule = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.0, 300)
    losses = []
    for _ in range(300):
        optimiser.zero_grad()
        loss = ((weight - target) * scale).pow(2).mean()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 1e-3 * losses[0]


def test_weights_decay_and_those_without_a_gradient_stay() -> None:
    moved, still = nn.Parameter(torch.ones(2, 2)), nn.Parameter(torch.ones(2, 2))
    moved.grad = torch.zeros(2, 2)
    Muon({moved: 1, still: 1}, lr=0.1, weight_decay=0.5).step()
    torch.testing.assert_close(moved.detach(), torch.full((2, 2), 0.95))
    assert torch.equal(still, torch.ones(2, 2))


def test_momentum_is_kept_from_step_to_step() -> None:
    weight = nn.Parameter(torch.zeros(4, 4))
    optimiser = Muon({weight: 1}, lr=0.1)
    for _ in range(2):
        weight.grad = torch.eye(4)
        optimiser.step()
    torch.testing.assert_close(optimiser.state[weight]["momentum"], (1 - 0.95**2) * torch.eye(4))


@pytest.mark.parametrize(("shape", "size"), [((16, 4), 2.0), ((4, 16), 1.0)])
def test_tall_matrices_take_longer_steps(shape: tuple[int, int], size: float) -> None:
    weight = nn.Parameter(torch.zeros(shape))
    weight.grad = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    Muon({weight: 1}, lr=0.1).step()
    values = singular_values(weight.detach())
    assert 0.05 * size < float(values.min()) <= float(values.max()) < 0.13 * size
