"""Front ends beside the one that ships, to compare it with: each is a trunk over a whole log-mel map.

All halve the time twice and the frequency five times, ``[batch, 1, time, bands] -> [batch, channels, time / 4,
bands / 32]``, and see the future too: what is compared is the blocks, and torchvision's are not causal.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor, nn

from lcspeech.train.pplcnet import STAGES, STEM_CHANNELS, CausalPPLCNet, SqueezeExcite, Stage, make_divisible

TIME_HALVINGS = len(CausalPPLCNet.TIME_STRIDES)
WIDTHS = [step / 100 for step in range(5, 150)]


@dataclass(frozen=True)
class Variant:
    """What of PP-LCNet's block an ablation changes; the default is what ships."""

    se: str = "tail"  # or "none", or "all": which blocks have squeeze-and-excitation
    se_last: bool = False  # after the pointwise convolution instead of before it
    activation: type[nn.Module] = nn.Hardswish
    tail_kernel: int = 5  # of the blocks that the table gives 5
    groups: int = 1  # of the pointwise convolution; a learned mix across groups then stands for a channel shuffle
    sub_bands: int = 1  # with statistics of their own in batch norms, while the bands can be divided
    shortcut: bool = True  # identity, where shapes allow


class SubSpectralNorm(nn.Module):
    """Batch norm with statistics of its own in each of `sub_bands` (Chang et al. 2021, arXiv 2103.13620)."""

    def __init__(self, channels: int, sub_bands: int) -> None:
        super().__init__()
        self.sub_bands = sub_bands
        self.norm = nn.BatchNorm2d(channels * sub_bands)

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, time, bands = x.shape
        split = x.transpose(2, 3).reshape(batch, channels * self.sub_bands, bands // self.sub_bands, time)
        y: Tensor = self.norm(split)
        return y.reshape(batch, channels, bands, time).transpose(2, 3)


class GroupMix(nn.Module):
    """Mixes the channels that have the same place in each of `groups`, by a small matrix for each place."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.groups = groups
        self.mix = nn.Conv2d(channels, channels, 1, groups=channels // groups, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, time, bands = x.shape
        shuffled = x.reshape(batch, self.groups, channels // self.groups, time, bands).transpose(1, 2)
        y: Tensor = self.mix(shuffled.reshape(x.shape))
        return y


class Block(nn.Module):
    """CausalBlock's twin that sees a whole map, with an ablation's changes; `bands` are those that it gets."""

    def __init__(
        self, inputs: int, outputs: int, stage: Stage, stride: tuple[int, int], bands: int, v: Variant
    ) -> None:
        super().__init__()
        kernel = v.tail_kernel if stage.kernel == 5 else stage.kernel
        after = (bands + stride[1] - 1) // stride[1]
        gated = v.se == "all" or (v.se == "tail" and stage.se)
        self.layers = nn.Sequential(
            nn.Conv2d(inputs, inputs, kernel, stride, kernel // 2, groups=inputs, bias=False),
            _norm(inputs, after, v),
            v.activation(),
            *([SqueezeExcite(inputs)] if gated and not v.se_last else []),
            nn.Conv2d(inputs, outputs, 1, groups=v.groups, bias=False),
            *([GroupMix(outputs, v.groups)] if v.groups > 1 else []),
            _norm(outputs, after, v),
            v.activation(),
            *([SqueezeExcite(outputs)] if gated and v.se_last else []),
        )
        self.shortcut = v.shortcut and stride == (1, 1) and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layers(x)
        return x + y if self.shortcut else y


def pplcnet(scale: float, bands: int, variant: Variant | None = None) -> nn.Sequential:
    """PP-LCNet with the strides and shortcuts of the one that ships, over a whole map."""
    v, time_strides = variant or Variant(), CausalPPLCNet.TIME_STRIDES
    width = make_divisible(STEM_CHANNELS * scale)
    after = (bands + 1) // 2
    stem = nn.Conv2d(1, width, 3, (2 if 0 in time_strides else 1, 2), 1, bias=False)
    layers: list[nn.Module] = [stem, _norm(width, after, v), v.activation()]
    for number, stage in enumerate(STAGES, start=1):
        outputs, stride = make_divisible(stage.channels * scale), (2 if number in time_strides else 1, stage.stride)
        layers.append(Block(width, outputs, stage, stride, after, v))
        width, after = outputs, (after + stage.stride - 1) // stage.stride
    return nn.Sequential(*layers)


def mobilenet_v2(width: float) -> nn.Sequential:
    """torchvision's MobileNetV2 (arXiv 1801.04381) up to its last block; 1280 channels more are for its classifier."""
    from torchvision.models import MobileNetV2

    return _over_log_mel(list(MobileNetV2(width_mult=width).features[:-1]))


def shufflenet_v2(width: float) -> nn.Sequential:
    """torchvision's ShuffleNetV2 (arXiv 1807.11164) up to its last block, all its channels times `width`."""
    from torchvision.models import ShuffleNetV2

    channels = [max(2, 2 * round(channels * width / 2)) for channels in (24, 116, 232, 464)]
    network = ShuffleNetV2([4, 8, 4], [*channels, 1024])
    return _over_log_mel([network.conv1, network.maxpool, network.stage2, network.stage3, network.stage4])


@cache
def width_for(build: Callable[[float], nn.Module], parameters: int) -> float:
    """The width at which `build` makes a front end whose number of parameters is nearest."""
    with torch.device("meta"):  # shapes without weights: no random number is drawn
        above = bisect_left(WIDTHS, parameters, key=lambda width: size(build(width)))
        near = WIDTHS[max(0, above - 1) : above + 1]
        return min(near, key=lambda width: abs(size(build(width)) - parameters))


def size(module: nn.Module) -> int:
    """Number of parameters."""
    return sum(parameter.numel() for parameter in module.parameters())


def _over_log_mel(levels: list[nn.Module]) -> nn.Sequential:
    """An image network's levels with one channel in, and time halved no more often than in PP-LCNet."""
    first = next(module for module in levels[0].modules() if isinstance(module, nn.Conv2d))
    first.weight = nn.Parameter(first.weight[:, :1].detach().clone())
    first.in_channels = 1
    halvings = 0
    for level in levels:
        strided = [m for m in level.modules() if isinstance(m, nn.Conv2d | nn.MaxPool2d) and m.stride in (2, (2, 2))]
        for module in strided:
            module.stride = (2 if halvings < TIME_HALVINGS else 1, 2)
        halvings += bool(strided)
    return nn.Sequential(*levels)


def _norm(channels: int, bands: int, v: Variant) -> nn.Module:
    divided = v.sub_bands > 1 and bands % v.sub_bands == 0
    return SubSpectralNorm(channels, v.sub_bands) if divided else nn.BatchNorm2d(channels)
