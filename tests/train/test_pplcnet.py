"""PP-LCNet: the paper's sizes; its causal form: the past alone, and a stream equals the whole."""

# ruff: noqa: E402
from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence

import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from lcspeech.train.pplcnet import (
    STAGES,
    CausalBlock,
    CausalConv2d,
    CausalPPLCNet,
    CausalSqueezeExcite,
    PPLCNet,
    SqueezeExcite,
    make_divisible,
)
from tests.train.conftest import pieces, settle

Step = Callable[[Tensor, list[Tensor]], tuple[Tensor, list[Tensor]]]
LENGTHS = st.lists(st.integers(1, 7), max_size=8)


def streamed(step: Step, x: Tensor, states: list[Tensor], lengths: Sequence[int]) -> tuple[Tensor, list[Tensor]]:
    """The outputs of `x` cut into `lengths` along time, one after another."""
    outputs = []
    for part in x.split(list(lengths), 2):
        y, states = step(part, states)
        outputs.append(y)
    return torch.cat(outputs, 2), states


def check_stream(step: Step, x: Tensor, states: list[Tensor], lengths: Sequence[int], atol: float = 1e-5) -> None:
    """The same outputs and the same final states, whatever the pieces."""
    whole, last = step(x, states)
    parts, last_of_parts = streamed(step, x, states, lengths)
    assert [s.shape for s in last] == [s.shape for s in states]
    for a, b in zip([parts, *last_of_parts], [whole, *last], strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=atol * max(1.0, float(b.detach().abs().max())))


def check_causal(step: Step, x: Tensor, states: list[Tensor], stride: int, now: int) -> None:
    """Another input from output frame `now` on leaves the outputs before it bit-identical, and changes it."""
    other = x.clone()
    other[:, :, now * stride :] = torch.randn_like(other[:, :, now * stride :])
    before, after = step(x, states)[0], step(other, states)[0]
    assert torch.equal(before[:, :, :now], after[:, :, :now])
    assert not torch.equal(before[:, :, now], after[:, :, now])


# The published network


@pytest.mark.parametrize(
    ("scale", "millions"),
    [(0.25, 1.5), (0.35, 1.6), (0.5, 1.9), (0.75, 2.4), (1.0, 3.0), (1.5, 4.5), (2.0, 6.5), (2.5, 9.0)],
)
def test_parameter_counts_are_the_papers(scale: float, millions: float) -> None:
    with torch.device("meta"):
        network = PPLCNet(scale)
    assert round(sum(p.numel() for p in network.parameters()) / 1e6, 1) == millions


def test_the_published_network_classifies_images() -> None:
    network = PPLCNet(0.25, classes=10).eval()
    with torch.no_grad():
        assert network(torch.randn(2, 3, 64, 96)).shape == (2, 10)
        assert nn.Sequential(*list(network)[:-6])(torch.randn(1, 3, 64, 96)).shape == (
            1,
            128,
            2,
            3,
        )  # a thirty-second of each side


def test_the_stage_table_is_the_papers() -> None:
    assert len(STAGES) == 13
    assert [s.kernel for s in STAGES] == [3] * 6 + [5] * 7
    assert [s.se for s in STAGES] == [False] * 11 + [True] * 2
    assert math.prod(s.stride for s in STAGES) == 16  # and 2 of the stem
    assert STAGES[-1].channels == 512


@pytest.mark.parametrize(
    ("channels", "rounded"),
    [(4, 8), (8, 8), (11.2, 16), (16, 16), (20, 24), (22.4, 24), (44.8, 48), (3, 8), (89.6, 88)],
)
def test_make_divisible(channels: float, rounded: int) -> None:
    assert make_divisible(channels) == rounded


@given(st.floats(8, 5_000))
@settings(max_examples=50, deadline=None)
def test_make_divisible_never_loses_a_tenth(channels: float) -> None:
    rounded = make_divisible(channels)
    assert rounded % 8 == 0
    assert 0.9 * channels <= rounded <= channels + 8


def test_squeeze_excite_by_value() -> None:
    gate, x = SqueezeExcite(8), torch.randn(2, 8, 3, 5)
    mean = x.mean((2, 3))
    inner = (mean @ gate.reduce.weight[:, :, 0, 0].T + gate.reduce.bias).clamp(min=0)
    logits = inner @ gate.expand.weight[:, :, 0, 0].T + gate.expand.bias
    expected = x * ((logits + 3) / 6).clamp(0, 1)[:, :, None, None]
    assert inner.shape == (2, 2)
    torch.testing.assert_close(gate(x), expected)


# The causal convolution


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("time_stride", [1, 2])
def test_causal_convolution_is_one_with_left_padding(kernel: int, time_stride: int) -> None:
    layer = CausalConv2d(6, 6, kernel, (time_stride, 2), groups=6)
    x = torch.randn(2, 6, 12, 10)
    state = torch.zeros(2, kernel - time_stride, 10, 6)
    y, new = layer(x, state)
    padded = F.pad(x, (kernel // 2, kernel // 2, kernel - time_stride, 0))
    torch.testing.assert_close(y, F.conv2d(padded, layer.weight, stride=(time_stride, 2), groups=6))
    assert y.shape == (2, 6, 12 // time_stride, 5)
    assert layer.bias is None
    assert torch.equal(new, x[:, :, -(kernel - time_stride) :].permute(0, 2, 3, 1))


@pytest.mark.parametrize(("kernel", "time_stride"), [(3, 1), (3, 2), (5, 1), (5, 2)])
def test_strides_are_right_aligned(kernel: int, time_stride: int) -> None:
    layer = CausalConv2d(1, 1, kernel, (time_stride, 1))
    with torch.no_grad():
        layer.weight.fill_(1.0)
    for place in range(12):
        x = torch.zeros(1, 1, 12, 1)
        x[0, 0, place] = 1.0
        y, _ = layer(x, torch.zeros(1, layer.past, 1, 1))
        ends = [t * time_stride + time_stride - 1 for t in range(12 // time_stride)]  # the last input of each output
        assert y.flatten().tolist() == [float(end - kernel < place <= end) for end in ends]


@given(st.sampled_from([3, 5]), st.sampled_from([1, 2]), LENGTHS, st.integers(0, 11))
@settings(max_examples=30, deadline=None)
def test_causal_convolution_laws(kernel: int, time_stride: int, lengths: list[int], now: int) -> None:
    torch.manual_seed(now)
    layer = CausalConv2d(3, 4, kernel, (time_stride, 2))
    x = torch.randn(2, 3, 12 * time_stride, 6)
    states = [torch.randn(2, layer.past, 6, 3)]

    def step(x: Tensor, states: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        y, state = layer(x, states[0])
        return y, [state]

    check_stream(step, x, states, pieces(12 * time_stride, lengths, time_stride))
    check_causal(step, x, states, time_stride, now)


# The causal gate


def test_the_gate_by_a_plain_loop() -> None:
    gate = CausalSqueezeExcite(8, decay=0.7, bands=5)
    x, mean = torch.randn(2, 8, 9, 5), torch.randn(2, 8)
    y, state = gate(x, mean[..., None])
    for t in range(9):
        mean = 0.7 * mean + 0.3 * x[:, :, t].mean(2)
        inner = (mean @ gate.reduce.weight[:, :, 0, 0].T + gate.reduce.bias).clamp(min=0)
        logits = inner @ gate.expand.weight[:, :, 0, 0].T + gate.expand.bias
        torch.testing.assert_close(y[:, :, t], x[:, :, t] * ((logits + 3) / 6).clamp(0, 1)[:, :, None])
    torch.testing.assert_close(state, mean[..., None])


def test_the_gate_forgets() -> None:
    gate, x = CausalSqueezeExcite(8, decay=0.5, bands=3), torch.randn(1, 8, 60, 3)
    near, far = gate(x, torch.zeros(1, 8, 1))[1], gate(x, torch.full((1, 8, 1), 1e3))[1]
    torch.testing.assert_close(near, far)
    steady = gate(torch.ones(1, 8, 60, 3), torch.zeros(1, 8, 1))[1]
    torch.testing.assert_close(steady, torch.ones(1, 8, 1))


@given(LENGTHS, st.integers(0, 19))
@settings(max_examples=30, deadline=None)
def test_gate_laws(lengths: list[int], now: int) -> None:
    torch.manual_seed(now)
    gate = CausalSqueezeExcite(8, decay=0.9, bands=4)
    nn.init.normal_(gate.expand.weight)
    nn.init.zeros_(gate.expand.bias)
    x, states = torch.randn(2, 8, 20, 4), [torch.randn(2, 8, 1)]

    def step(x: Tensor, states: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        y, state = gate(x, states[0])
        return y, [state]

    check_stream(step, x, states, pieces(20, lengths))
    check_causal(step, x, states, 1, now)


# The causal block


@pytest.mark.parametrize(("stride", "outputs", "decay"), [((1, 1), 8, 0.9), ((1, 2), 16, None), ((2, 2), 8, 0.9)])
@given(lengths=LENGTHS, now=st.integers(0, 9))
@settings(max_examples=10, deadline=None)
def test_block_laws(stride: tuple[int, int], outputs: int, decay: float | None, lengths: list[int], now: int) -> None:
    torch.manual_seed(now)
    block = CausalBlock(8, outputs, 5, stride, (decay, 6 // stride[1]) if decay else None)
    x = torch.randn(2, 8, 10 * stride[0], 6)
    states = [torch.randn(2, 5 - stride[0], 6, 8), *([torch.randn(2, 8, 1)] if decay else [])]
    settle(block, x, states)
    y, new = block(x, states)
    assert y.shape == (2, outputs, 10, 6 // stride[1])
    assert len(new) == len(states)
    check_stream(block, x, states, pieces(10 * stride[0], lengths, stride[0]))
    check_causal(block, x, states, stride[0], now)


def test_the_shortcut_is_there_where_the_shape_allows_it() -> None:
    x, states = torch.randn(1, 8, 4, 6), [torch.zeros(1, 2, 6, 8)]
    for stride, outputs, adds in [((1, 1), 8, True), ((1, 1), 16, False), ((1, 2), 8, False)]:
        block = CausalBlock(8, outputs, 3, stride, None).eval()
        nn.init.zeros_(block.pointwise.weight)  # the block itself then gives hardswish(0) = 0
        y, _ = block(x, states)
        assert torch.equal(y, x if adds else torch.zeros_like(y))


# The whole trunk


@pytest.fixture(scope="module")
def trunk() -> CausalPPLCNet:
    torch.manual_seed(1)
    network = CausalPPLCNet(0.25, 40, 0.01)
    settle(network, torch.randn(4, 1, 40, 40), [torch.zeros(4, *shape) for shape in network.shapes])
    return network


@torch.no_grad()
def heard(trunk: CausalPPLCNet, batch: int) -> list[Tensor]:
    """The states of streams that have been running for a while."""
    states: list[Tensor] = trunk(torch.randn(batch, 1, 40, 40), [torch.zeros(batch, *s) for s in trunk.shapes])[1]
    return states


def test_trunk_shapes(trunk: CausalPPLCNet) -> None:
    assert trunk.time_stride == 4
    assert (trunk.channels, trunk.bands) == (128, 2)
    assert len(trunk.shapes) == 1 + 13 + 2  # stem, blocks, gates
    assert trunk.shapes[0] == (1, 40, 1)
    states = [torch.zeros(3, *shape) for shape in trunk.shapes]
    y, new = trunk(torch.randn(3, 1, 24, 40), states)
    assert y.shape == (3, 128, 6, 2)
    assert [tuple(s.shape[1:]) for s in new] == trunk.shapes


@pytest.mark.parametrize("bands", [32, 39, 40, 64, 80])
def test_trunk_takes_any_number_of_bands(bands: int) -> None:
    network = CausalPPLCNet(0.25, bands, 0.01).eval()
    y, new = network(torch.randn(1, 1, 8, bands), [torch.zeros(1, *shape) for shape in network.shapes])
    assert y.shape == (1, network.channels, 2, network.bands)
    assert [tuple(s.shape[1:]) for s in new] == network.shapes


def test_the_gates_time_constant_is_half_a_second(trunk: CausalPPLCNet) -> None:
    decays = [block.se.decay for block in trunk.blocks if block.se is not None]
    assert decays == pytest.approx([math.exp(-0.04 / 0.5)] * 2, rel=1e-6)


@given(lengths=LENGTHS, seed=st.integers(0, 99))
@settings(max_examples=10, deadline=None)
def test_a_streamed_trunk_equals_the_whole(trunk: CausalPPLCNet, lengths: list[int], seed: int) -> None:
    torch.manual_seed(seed)
    x, states = torch.randn(2, 1, 48, 40).double(), [state.double() for state in heard(trunk, 2)]
    with torch.no_grad():
        check_stream(copy.deepcopy(trunk).double(), x, states, pieces(48, lengths, 4), atol=1e-9)


@given(now=st.integers(0, 11))
@settings(max_examples=6, deadline=None)
def test_the_trunk_is_causal(trunk: CausalPPLCNet, now: int) -> None:
    torch.manual_seed(now)
    x = torch.randn(2, 1, 48, 40)
    with torch.no_grad():
        check_causal(trunk, x, heard(trunk, 2), 4, now)


def test_every_state_matters(trunk: CausalPPLCNet) -> None:
    x, states = torch.randn(1, 1, 8, 40), [torch.zeros(1, *shape) for shape in trunk.shapes]
    with torch.no_grad():
        expected, _ = trunk(x, states)
        for i, state in enumerate(states):
            other = [*states[:i], torch.randn_like(state), *states[i + 1 :]]
            assert not torch.equal(trunk(x, other)[0], expected)
