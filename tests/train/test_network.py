"""The CRNN: its shapes and size, log-probs, states, and a stream that equals the whole."""

# ruff: noqa: E402
from __future__ import annotations

import copy

import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings
from hypothesis import strategies as st

from lcspeech.card import FeatureSettings, StateSpec
from lcspeech.errors import UsageError
from lcspeech.train.network import Network, NetworkSettings, State
from tests.train.conftest import pieces, settle

FEATURES = FeatureSettings()


@pytest.fixture(scope="module")
def network() -> Network:
    torch.manual_seed(2)
    made = Network(NetworkSettings(scale=0.25, hidden=16), FEATURES, units=7)
    made.set_normalisation(torch.linspace(-6, -2, 40), torch.linspace(1, 3, 40))
    settle(made, -4 + 2 * torch.randn(4, 40, 40), made.initial_state(4))
    return made


@torch.no_grad()
def heard(network: Network, batch: int) -> State:
    """The state of streams that have been running for a while."""
    state: State = network(-4 + 2 * torch.randn(batch, 40, 40), network.initial_state(batch))[1]
    return state


def test_shapes(network: Network) -> None:
    log_probs, state = network(torch.randn(3, 24, 40), network.initial_state(3))
    assert network.time_stride == 4
    assert log_probs.shape == (3, 6, 7)
    assert log_probs.dtype == torch.float32
    assert [s.shape for s in state] == [s.shape for s in network.initial_state(3)]


def test_log_probs_are_normalised(network: Network) -> None:
    log_probs, _ = network(-4 + 2 * torch.randn(2, 40, 40), heard(network, 2))
    torch.testing.assert_close(log_probs.exp().sum(2), torch.ones(2, 10))
    assert log_probs.exp().max() < 0.999  # not of a degenerate network


def test_states_are_named_and_start_at_zero(network: Network) -> None:
    specs = network.state_specs()
    assert [spec.name for spec in specs] == [f"state{i}" for i in range(len(specs))]
    assert specs[0] == StateSpec("state0", (1, 40, 1))
    assert specs[-1].shape == (16,)
    state = network.initial_state(5)
    assert [tuple(s.shape) for s in state] == [(5, *spec.shape) for spec in specs]
    assert not any(s.any() for s in state)


@pytest.mark.parametrize(("scale", "hidden", "most"), [(0.25, 128, 200_000), (0.25, 16, 100_000), (0.35, 96, 300_000)])
def test_size(scale: float, hidden: int, most: int) -> None:
    network = Network(NetworkSettings(scale, hidden), FEATURES, 40)
    assert most / 2 < sum(p.numel() for p in network.parameters()) < most


@given(lengths=st.lists(st.integers(1, 7), max_size=8), seed=st.integers(0, 99))
@settings(max_examples=12, deadline=None)
def test_streamed_equals_whole(network: Network, lengths: list[int], seed: int) -> None:
    torch.manual_seed(seed)
    x, state = -4 + 2 * torch.randn(2, 48, 40).double(), tuple(s.double() for s in heard(network, 2))
    network = copy.deepcopy(network).double()  # the law itself; single precision is the next test's
    with torch.no_grad():
        whole, last = network(x, state)
        parts = []
        for part in x.split(pieces(48, lengths, 4), 1):
            log_probs, state = network(part, state)
            parts.append(log_probs)
    torch.testing.assert_close(torch.cat(parts, 1), whole, rtol=0, atol=1e-9)
    for a, b in zip(state, last, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-9)


@pytest.mark.parametrize("lengths", [[4] * 12, [8] * 6, [20, 4, 24], [44, 4]])
def test_streamed_equals_whole_in_single_precision(network: Network, lengths: list[int]) -> None:
    x, state = -4 + 2 * torch.randn(2, 48, 40), heard(network, 2)
    with torch.no_grad():
        whole, _ = network(x, state)
        parts = []
        for part in x.split(lengths, 1):
            log_probs, state = network(part, state)
            parts.append(log_probs)
    torch.testing.assert_close(torch.cat(parts, 1), whole, rtol=0, atol=1e-4)  # the contract's figure


@pytest.mark.parametrize("now", [0, 1, 5, 11])
def test_the_future_never_changes_the_past(network: Network, now: int) -> None:
    x, state = -4 + 2 * torch.randn(2, 48, 40), heard(network, 2)
    other = x.clone()
    other[:, 4 * now :] += torch.randn(2, 48 - 4 * now, 40)
    with torch.no_grad():
        a, b = network(x, state)[0], network(other, state)[0]
    assert torch.equal(a[:, :now], b[:, :now])
    assert not torch.equal(a[:, now], b[:, now])


def test_rows_do_not_see_one_another(network: Network) -> None:
    x, state = -4 + 2 * torch.randn(3, 16, 40), heard(network, 3)
    with torch.no_grad():
        together, _ = network(x, state)
        for row in range(3):
            alone, _ = network(x[row : row + 1], tuple(s[row : row + 1] for s in state))
            torch.testing.assert_close(alone[0], together[row], rtol=0, atol=1e-5)


def test_every_state_matters(network: Network) -> None:
    x, state = -4 + 2 * torch.randn(1, 8, 40), network.initial_state(1)
    with torch.no_grad():
        expected, _ = network(x, state)
        for i, part in enumerate(state):
            other = (*state[:i], torch.randn_like(part), *state[i + 1 :])
            assert not torch.equal(network(x, other)[0], expected)


def test_the_state_given_is_not_changed(network: Network) -> None:
    state = heard(network, 1)
    copy = [s.clone() for s in state]
    network(torch.randn(1, 8, 40), state)
    assert all(torch.equal(a, b) for a, b in zip(state, copy, strict=True))


def test_dropout_is_for_training_alone(network: Network) -> None:
    hidden = torch.randn(1, 50, 16)
    assert torch.equal(network.log_probs(hidden), network.log_probs(hidden))
    network.train()
    assert not torch.equal(network.log_probs(hidden), network.log_probs(hidden))
    network.eval()


def test_normalisation_takes_mean_and_deviation_out() -> None:
    network = Network(NetworkSettings(scale=0.25, hidden=8), FEATURES, 5).eval()
    x, state = torch.randn(1, 16, 40), network.initial_state(1)
    with torch.no_grad():
        expected, _ = network(x, state)
        mean, deviation = torch.linspace(-9, 3, 40), torch.linspace(0.5, 4, 40)
        network.set_normalisation(mean, deviation)
        normalised, _ = network(x * deviation + mean, state)
    torch.testing.assert_close(normalised, expected, rtol=0, atol=1e-5)
    assert torch.equal(network.state_dict()["mean"], mean)  # travels with the weights
    torch.testing.assert_close(network.state_dict()["scale"], 1 / deviation)


def test_no_unit_has_a_head_start() -> None:
    network = Network(NetworkSettings(), FEATURES, 40)
    assert not network.head.bias.any()


@pytest.mark.parametrize(("scale", "hidden"), [(0.35, 20), (0.5, 16), (0.75, 32)])
def test_grown_wider_it_computes_the_same_at_first(scale: float, hidden: int) -> None:
    torch.manual_seed(3)
    small = Network(NetworkSettings(0.35, 16), FEATURES, units=7)
    small.set_normalisation(torch.linspace(-6, -2, 40), torch.linspace(1, 3, 40))
    settle(small, -4 + 2 * torch.randn(4, 40, 40), small.initial_state(4))
    large = Network(NetworkSettings(scale, hidden), FEATURES, units=7).eval()
    large.grow_from(small)
    x = -4 + 2 * torch.randn(2, 40, 40)
    with torch.no_grad():
        expected, got = (network(x, network.initial_state(2))[0] for network in (small, large))
    torch.testing.assert_close(got, expected)
    # What is new learns from the first step on: something hears it as soon as its own weights move
    large.train()
    large(x, large.initial_state(2))[0][:, :, 0].sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in large.parameters())


def test_a_wider_network_does_not_fit_into_a_narrower_one(network: Network) -> None:
    wide = Network(NetworkSettings(0.25, 20), FEATURES, units=7)
    with pytest.raises(UsageError, match=r"wider \('gru.weight_ih_l0'\); give its scale and hidden, or more"):
        copy.deepcopy(network).grow_from(wide)
