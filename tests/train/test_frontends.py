"""Front ends to compare with: their shapes, their sizes, and that each change of an ablation changes what it says."""

# ruff: noqa: E402
from __future__ import annotations

from collections.abc import Callable

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("torchvision")

from torch import nn

from lcspeech.train.frontends import (
    GroupMix,
    SubSpectralNorm,
    Variant,
    mobilenet_v2,
    pplcnet,
    shufflenet_v2,
    size,
    width_for,
)
from lcspeech.train.pplcnet import CausalPPLCNet, SqueezeExcite

VARIANTS = [
    Variant(se="none"),
    Variant(se="all"),
    Variant(se_last=True),
    Variant(activation=nn.ReLU),
    Variant(tail_kernel=3),
    Variant(groups=2),
    Variant(sub_bands=5),
    Variant(shortcut=False),
]


@pytest.mark.parametrize("scale", [0.25, 0.35])
def test_the_default_is_as_large_as_what_ships(scale: float) -> None:
    assert size(pplcnet(scale, 40)) == size(CausalPPLCNet(scale, 40, 0.01))


@pytest.mark.parametrize("build", [mobilenet_v2, shufflenet_v2])
def test_torchvisions_networks_have_the_strides_and_about_the_size(build: Callable[[float], nn.Sequential]) -> None:
    trunk = build(width_for(build, 137_000))
    assert 0.97 * 137_000 < size(trunk) < 1.03 * 137_000
    with torch.no_grad():
        assert trunk.eval()(torch.zeros(2, 1, 120, 40)).shape[2:] == (30, 2)


def test_finding_the_width_leaves_the_random_weights_to_the_seed() -> None:
    torch.manual_seed(3)
    expected = torch.rand(3)
    width_for.cache_clear()
    torch.manual_seed(3)
    assert width_for(shufflenet_v2, size(shufflenet_v2(0.3))) == pytest.approx(0.3, abs=0.02)
    torch.manual_seed(3)
    width_for(shufflenet_v2, 9_999)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_a_variant_has_the_same_strides_and_learns(variant: Variant) -> None:
    trunk = pplcnet(0.25, 40, variant)
    x = torch.randn(2, 1, 120, 40)
    y = trunk(x)
    assert y.shape == (2, 128, 30, 2)
    y.square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in trunk.parameters())


def test_what_variants_change() -> None:
    def count(kind: type[nn.Module], variant: Variant) -> int:
        return sum(isinstance(module, kind) for module in pplcnet(0.25, 40, variant).modules())

    assert [count(SqueezeExcite, Variant(se=se)) for se in ("none", "tail", "all")] == [0, 2, 13]
    assert (count(nn.Hardswish, Variant(activation=nn.ReLU)), count(nn.ReLU, Variant(activation=nn.ReLU))) == (0, 27)
    assert count(GroupMix, Variant(groups=2)) == 13
    assert count(SubSpectralNorm, Variant(sub_bands=5)) > 0
    kernels = {m.kernel_size for m in pplcnet(0.25, 40, Variant(tail_kernel=3)).modules() if isinstance(m, nn.Conv2d)}
    assert kernels == {(1, 1), (3, 3)}
    block = pplcnet(0.25, 40, Variant(se_last=True))[-1]
    assert isinstance(block.layers[-1], SqueezeExcite)


def test_sub_bands_are_normalised_apart() -> None:
    norm = SubSpectralNorm(3, 2).train()
    x = torch.randn(4, 3, 5, 8) * torch.tensor([1.0] * 4 + [9.0] * 4) + torch.tensor([0.0] * 4 + [7.0] * 4)
    y = norm(x)
    for half in (y[..., :4], y[..., 4:]):
        torch.testing.assert_close(half.mean((0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
        torch.testing.assert_close(half.std((0, 2, 3)), torch.ones(3), atol=0.02, rtol=0)


def test_a_mix_reaches_across_groups() -> None:
    mix = GroupMix(6, 2)
    x = torch.zeros(1, 6, 1, 1, requires_grad=True)
    y = mix(x)
    reached = torch.autograd.grad(y.flatten()[0], x)[0].flatten() != 0
    assert reached.tolist() == [True, False, False, True, False, False]  # the first of either group
