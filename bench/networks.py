"""The networks that benchmarks run on, written out in PyTorch from their papers, with random weights.

Written here because a benchmark must not need a second framework's model zoo. Layer counts and widths are those of the
papers; `parameters` in `NETWORKS` are the published counts, checked when a network is built.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn


def conv_bn(inside: int, outside: int, kernel: int, stride: int = 1, groups: int = 1, act: type | None = nn.ReLU):
    """Convolution without bias, batch normalisation, activation."""
    padding = (kernel - 1) // 2
    layers = [nn.Conv2d(inside, outside, kernel, stride, padding, groups=groups, bias=False), nn.BatchNorm2d(outside)]
    return nn.Sequential(*layers, *([act()] if act else []))


# ---- ResNet (He et al. 2016)


class Residual(nn.Module):
    def __init__(self, inside: int, width: int, stride: int, bottleneck: bool) -> None:
        super().__init__()
        outside = width * 4 if bottleneck else width
        if bottleneck:
            self.body = nn.Sequential(
                conv_bn(inside, width, 1), conv_bn(width, width, 3, stride), conv_bn(width, outside, 1, act=None)
            )
        else:
            self.body = nn.Sequential(conv_bn(inside, width, 3, stride), conv_bn(width, outside, 3, act=None))
        same = stride == 1 and inside == outside
        self.skip = nn.Identity() if same else conv_bn(inside, outside, 1, stride, act=None)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.body(x) + self.skip(x))


def resnet(depths: Sequence[int], bottleneck: bool) -> nn.Module:
    layers: list[nn.Module] = [conv_bn(3, 64, 7, 2), nn.MaxPool2d(3, 2, 1)]
    inside = 64
    for stage, depth in enumerate(depths):
        width = 64 << stage
        for block in range(depth):
            layers.append(Residual(inside, width, 2 if stage and not block else 1, bottleneck))
            inside = width * 4 if bottleneck else width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inside, 1000))


# ---- VGG-16 (Simonyan & Zisserman 2015), SqueezeNet 1.1 (Iandola et al. 2016)


def vgg16() -> nn.Module:
    layers: list[nn.Module] = []
    inside = 3
    for width in (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0):
        if not width:
            layers.append(nn.MaxPool2d(2))
            continue
        layers += [nn.Conv2d(inside, width, 3, padding=1), nn.ReLU()]
        inside = width
    head = [nn.Flatten(), nn.Linear(512 * 49, 4096), nn.ReLU(), nn.Linear(4096, 4096), nn.ReLU(), nn.Linear(4096, 1000)]
    return nn.Sequential(*layers, *head)


class Fire(nn.Module):
    def __init__(self, inside: int, squeeze: int, expand: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(inside, squeeze, 1)
        self.one, self.three = nn.Conv2d(squeeze, expand, 1), nn.Conv2d(squeeze, expand, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.squeeze(x))
        return torch.cat([torch.relu(self.one(x)), torch.relu(self.three(x))], 1)


def squeezenet() -> nn.Module:
    def pool() -> nn.Module:
        return nn.MaxPool2d(3, 2, ceil_mode=True)

    layers = [nn.Conv2d(3, 64, 3, 2), nn.ReLU(), pool(), Fire(64, 16, 64), Fire(128, 16, 64), pool()]
    layers += [Fire(128, 32, 128), Fire(256, 32, 128), pool(), Fire(256, 48, 192), Fire(384, 48, 192)]
    layers += [Fire(384, 64, 256), Fire(512, 64, 256), nn.Conv2d(512, 1000, 1), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())


# ---- MobileNetV2 (Sandler et al. 2018), EfficientNet-B0 (Tan & Le 2019)


class Inverted(nn.Module):
    def __init__(
        self, inside: int, outside: int, kernel: int, stride: int, expand: int, act: type, squeeze: bool
    ) -> None:
        super().__init__()
        width = inside * expand
        layers: list[nn.Module] = [conv_bn(inside, width, 1, act=act)] if expand > 1 else []
        layers.append(conv_bn(width, width, kernel, stride, width, act))
        if squeeze:
            layers.append(SqueezeExcite(width, max(1, inside // 4)))
        layers.append(conv_bn(width, outside, 1, act=None))
        self.body = nn.Sequential(*layers)
        self.add = stride == 1 and inside == outside

    def forward(self, x: Tensor) -> Tensor:
        y = self.body(x)
        return x + y if self.add else y


class SqueezeExcite(nn.Module):
    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.down, self.up = nn.Conv2d(channels, squeezed, 1), nn.Conv2d(squeezed, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        gate = nn.functional.silu(self.down(x.mean((2, 3), keepdim=True)))
        return x * torch.sigmoid(self.up(gate))


MOBILENET = [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)]
EFFICIENTNET = [
    (1, 16, 1, 1, 3), (6, 24, 2, 2, 3), (6, 40, 2, 2, 5), (6, 80, 3, 2, 3), (6, 112, 3, 1, 5), (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
]  # fmt: skip


def inverted_residuals(rows: Sequence[Sequence[int]], act: type, squeeze: bool) -> nn.Module:
    layers: list[nn.Module] = [conv_bn(3, 32, 3, 2, act=act)]
    inside = 32
    for expand, outside, count, stride, *kernel in rows:
        for index in range(count):
            size = kernel[0] if kernel else 3
            layers.append(Inverted(inside, outside, size, stride if not index else 1, expand, act, squeeze))
            inside = outside
    layers += [conv_bn(inside, 1280, 1, act=act), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1280, 1000)]
    return nn.Sequential(*layers)


# ---- ConvNeXt-T (Liu et al. 2022)


class ChannelNorm(nn.Module):
    """Layer normalisation over the channels of an NCHW map."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ConvNeXtBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(width, width, 7, padding=3, groups=width)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.scale = nn.Parameter(torch.full((width,), 0.1))

    def forward(self, x: Tensor) -> Tensor:
        y = self.mlp(self.norm(self.depthwise(x).permute(0, 2, 3, 1)))
        return x + (self.scale * y).permute(0, 3, 1, 2)


def convnext_t() -> nn.Module:
    layers: list[nn.Module] = [nn.Conv2d(3, 96, 4, 4), ChannelNorm(96)]
    for stage, (width, depth) in enumerate(((96, 3), (192, 3), (384, 9), (768, 3))):
        if stage:
            layers += [ChannelNorm(width // 2), nn.Conv2d(width // 2, width, 2, 2)]
        layers += [ConvNeXtBlock(width) for _ in range(depth)]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LayerNorm(768, eps=1e-6), nn.Linear(768, 1000)]
    return nn.Sequential(*layers, *head)


# ---- ViT-S/16 (Dosovitskiy et al. 2021), Swin-T (Liu et al. 2021), a small BERT (Devlin et al. 2019)


class Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        n, length, width = x.shape
        q, k, v = self.qkv(x).reshape(n, length, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        logits = q @ k.transpose(-2, -1) * (width // self.heads) ** -0.5
        if bias is not None:
            logits = logits + bias
        return self.out((logits.softmax(-1) @ v).transpose(1, 2).reshape(n, length, width))


class Block(nn.Module):
    """A transformer block, normalisation first."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.first, self.second = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
        self.attention = Attention(width, heads)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.first(x))
        return x + self.mlp(self.second(x))


class ViT(nn.Module):
    def __init__(self, width: int = 384, depth: int = 12, heads: int = 6) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, 16, 16)
        self.token = nn.Parameter(torch.randn(1, 1, width) * 0.02)
        self.position = nn.Parameter(torch.randn(1, 197, width) * 0.02)
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(depth)))
        self.norm, self.head = nn.LayerNorm(width, eps=1e-6), nn.Linear(width, 1000)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.position
        return self.head(self.norm(self.blocks(x))[:, 0])


class SwinBlock(nn.Module):
    """Attention in 7 x 7 windows, shifted in every other block."""

    def __init__(self, width: int, heads: int, side: int, shifted: bool) -> None:
        super().__init__()
        self.side, self.shift = side, 3 if shifted and side > 7 else 0
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        place = torch.stack(torch.meshgrid(torch.arange(7), torch.arange(7), indexing="ij")).flatten(1)
        apart = (place[:, :, None] - place[:, None, :]).permute(1, 2, 0) + 6
        self.register_buffer("index", apart[..., 0] * 13 + apart[..., 1])
        self.table = nn.Parameter(torch.randn(169, heads) * 0.02)
        self.register_buffer("mask", self._mask() if self.shift else None)

    def _mask(self) -> Tensor:
        region = torch.zeros(self.side, self.side)
        cuts = (slice(0, -7), slice(-7, -3), slice(-3, None))
        for i, rows in enumerate(cuts):
            for j, columns in enumerate(cuts):
                region[rows, columns] = 3 * i + j
        count = self.side // 7
        windows = region.reshape(count, 7, count, 7).transpose(1, 2).reshape(-1, 49)
        return (windows[:, :, None] != windows[:, None, :]).float()[:, None] * -100.0

    def forward(self, x: Tensor) -> Tensor:
        side, width, count = self.side, x.shape[-1], self.side // 7
        y = self.first(x)
        if self.shift:
            y = torch.roll(y, (-3, -3), (1, 2))
        y = y.reshape(-1, count, 7, count, 7, width).transpose(2, 3).reshape(-1, 49, width)
        bias = self.table[self.index.flatten()].reshape(49, 49, -1).permute(2, 0, 1)[None]
        if self.shift:
            whole = (bias + self.mask)[None]
            y = self._in_windows(y, whole, count)
        else:
            y = self.attention(y, bias)
        y = y.reshape(-1, count, count, 7, 7, width).transpose(2, 3).reshape(-1, side, side, width)
        if self.shift:
            y = torch.roll(y, (3, 3), (1, 2))
        x = x + y
        return x + self.mlp(self.second(x))

    def _in_windows(self, y: Tensor, whole: Tensor, count: int) -> Tensor:
        attention = self.attention
        n, length, width = y.shape
        q, k, v = attention.qkv(y).reshape(n, length, 3, attention.heads, -1).permute(2, 0, 3, 1, 4)
        logits = q @ k.transpose(-2, -1) * (width // attention.heads) ** -0.5
        logits = (logits.reshape(-1, count * count, attention.heads, 49, 49) + whole).reshape(
            n, attention.heads, 49, 49
        )
        return attention.out((logits.softmax(-1) @ v).transpose(1, 2).reshape(n, length, width))


class Merge(nn.Module):
    """2 x 2 neighbours become one position of twice the width."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.reduce = nn.LayerNorm(4 * width), nn.Linear(4 * width, 2 * width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        parts = [x[:, 0::2, 0::2], x[:, 1::2, 0::2], x[:, 0::2, 1::2], x[:, 1::2, 1::2]]
        return self.reduce(self.norm(torch.cat(parts, -1)))


class Swin(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.patches, self.start = nn.Conv2d(3, 96, 4, 4), nn.LayerNorm(96)
        layers: list[nn.Module] = []
        for stage, (depth, heads) in enumerate(((2, 3), (2, 6), (6, 12), (2, 24))):
            width, side = 96 << stage, 56 >> stage
            if stage:
                layers.append(Merge(width // 2))
            layers += [SwinBlock(width, heads, side, bool(i % 2)) for i in range(depth)]
        self.body, self.norm, self.head = nn.Sequential(*layers), nn.LayerNorm(768), nn.Linear(768, 1000)

    def forward(self, x: Tensor) -> Tensor:
        x = self.start(self.patches(x).permute(0, 2, 3, 1))
        return self.head(self.norm(self.body(x)).mean((1, 2)))


class SmallBert(nn.Module):
    """Four layers of width 256 on embedded tokens (batch, 128, 256): the gradient is taken at the embeddings."""

    def __init__(self) -> None:
        super().__init__()
        self.position = nn.Parameter(torch.randn(1, 128, 256) * 0.02)
        self.blocks = nn.Sequential(*(Block(256, 4) for _ in range(4)))
        self.norm, self.head = nn.LayerNorm(256), nn.Linear(256, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.blocks(x + self.position))[:, 0])


# ---- the list


@dataclass(frozen=True)
class Network:
    """`build` makes it, `shape` is one input without the batch, `parameters` the published count in millions."""

    name: str
    build: Callable[[], nn.Module]
    shape: tuple[int, ...] = (3, 224, 224)
    parameters: float | None = None
    depthwise: bool = False


NETWORKS = {
    network.name: network
    for network in (
        Network("resnet18", lambda: resnet((2, 2, 2, 2), False), parameters=11.69),
        Network("resnet50", lambda: resnet((3, 4, 6, 3), True), parameters=25.56),
        Network("vgg16", vgg16, parameters=138.36),
        Network("squeezenet1.1", squeezenet, parameters=1.235),
        Network("mobilenetv2", lambda: inverted_residuals(MOBILENET, nn.ReLU6, False), parameters=3.50, depthwise=True),
        Network(
            "efficientnet-b0", lambda: inverted_residuals(EFFICIENTNET, nn.SiLU, True), parameters=5.29, depthwise=True
        ),
        Network("convnext-t", convnext_t, parameters=28.59, depthwise=True),
        Network("vit-s", ViT, parameters=22.05),
        Network("swin-t", Swin, parameters=28.29),
        Network("bert-small", SmallBert, shape=(128, 256)),
    )
}


def build(name: str, seed: int = 0) -> nn.Module:
    """The network in inference mode with seeded random weights and plausible batch statistics."""
    torch.manual_seed(seed)
    network = NETWORKS[name]
    module = network.build()
    generator = torch.Generator().manual_seed(seed)
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, nonlinearity="relu", generator=generator)
        if isinstance(part, nn.BatchNorm2d):
            part.running_var.uniform_(0.5, 1.5, generator=generator)
            part.running_mean.normal_(0, 0.1, generator=generator)
    count = sum(p.numel() for p in module.parameters()) / 1e6
    if network.parameters is not None and abs(count - network.parameters) > 0.01 * network.parameters:
        raise AssertionError(f"{name} has {count:.2f} million parameters, published are {network.parameters}")
    return module.eval()


def export(name: str, module: nn.Module) -> bytes:
    """The network as ONNX: opset 17, dynamic batch, input "x", output "y"."""
    file = io.BytesIO()
    batch = {"x": {0: "batch"}, "y": {0: "batch"}}
    x = torch.zeros(1, *NETWORKS[name].shape)
    torch.onnx.export(
        module, (x,), file, input_names=["x"], output_names=["y"], dynamic_axes=batch, opset_version=17, dynamo=False
    )
    return file.getvalue()
