"""The U-Net family of BUNET (arXiv 2007.06855), as `models::unet` builds it: L levels make 2L-1 batches of two 3x3(x3)
convolutions, each with batch norm and an activation; L-1 poolings by 2; transposed convolutions of kernel and stride 2, the
skip first in the concatenation; a 1x1(x1) readout."""

import torch
from torch import nn

CONVOLUTION = {2: nn.Conv2d, 3: nn.Conv3d}
TRANSPOSED = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
NORM = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
POOL = {("max", 2): nn.MaxPool2d, ("max", 3): nn.MaxPool3d, ("average", 2): nn.AvgPool2d, ("average", 3): nn.AvgPool3d}

# Inputs beyond this many deviations cost: tails grow with every square, and shares must hold the largest value.
REACH = 4.0


class Square(nn.Module):
    """y². With y = (x + r)/(2·√r) this is (x + r)²/(4·r), which stays within 0 and r for |x| up to r, as max(0, x) does, from
    which `blend` leads over: 0 is ReLU. r is per channel."""

    def __init__(self, channels, rank):
        super().__init__()
        self.register_buffer("reach", torch.ones(channels, *[1] * rank))
        self.blend = 1.0
        self.excess = None

    def forward(self, y):
        reach = self.reach.to(y.dtype)
        root = reach.sqrt()
        if self.training:
            self.excess = torch.relu(y.abs() / root - 1).square().mean()
        squared = y * y
        if self.blend < 1:
            return torch.lerp(torch.relu(2 * root * y - reach), squared, self.blend)
        return squared


class Quadratic(nn.Module):
    """a·x² + b·x + c with trained coefficients per channel, near ReLU to begin with."""

    def __init__(self, channels, rank):
        super().__init__()
        shape = (1, channels) + (1,) * rank
        self.a, self.b, self.c = (nn.Parameter(torch.full(shape, start)) for start in (0.2, 0.5, 0.2))
        self.excess = None

    def forward(self, x):
        if self.training:
            self.excess = torch.relu(x.abs() - REACH).square().mean()
        return self.a * (x * x) + self.b * x + self.c


def activation(kind, channels, rank):
    kinds = {"relu": lambda *_: nn.ReLU(), "square": Square, "quadratic": Quadratic}
    return kinds[kind](channels, rank)


def activations(variant, levels):
    """Of each batch, by the name of a variant."""
    batches = 2 * levels - 1
    if variant == "hybrid":
        return ["square"] + ["relu"] * (batches - 2) + ["square"]
    return [variant] * batches


class Half(nn.Module):
    """One convolution of a batch, with norm and activation."""

    def __init__(self, rank, before, after, kind):
        super().__init__()
        self.convolution = CONVOLUTION[rank](before, after, 3, padding=1)
        self.norm = NORM[rank](after)
        self.activation = activation(kind, after, rank)

    def fold(self):
        """Batch norm, with the statistics it has, moves into the convolution."""
        scale = self.norm.weight / (self.norm.running_var + self.norm.eps).sqrt()
        with torch.no_grad():
            self.convolution.weight *= scale.view(-1, *[1] * (self.convolution.weight.ndim - 1))
            self.convolution.bias.copy_((self.convolution.bias - self.norm.running_mean) * scale + self.norm.bias)
        self.norm = nn.Identity()


class UNet(nn.Module):
    """`[image, 1, …]` to scores `[image, label, …]`. Values carry names; `numbers` may round them, and the weights."""

    def __init__(self, rank, channels, labels, variant="relu", pooling="average"):
        super().__init__()
        self.levels, kinds = len(channels), activations(variant, len(channels))
        self.pool = POOL[pooling, rank](2)
        self.halves, self.ups = nn.ModuleDict(), nn.ModuleDict()
        for level, width in enumerate(channels):
            self._batch(f"down{level}", rank, channels[level - 1] if level else 1, width, kinds[level])
        for level in reversed(range(self.levels - 1)):
            self.ups[f"upconv{level}"] = TRANSPOSED[rank](channels[level + 1], channels[level], 2, 2)
            kind = kinds[2 * (self.levels - 1) - level]
            self._batch(f"up{level}", rank, 2 * channels[level], channels[level], kind)
        self.readout = CONVOLUTION[rank](channels[0], labels, 1)
        self.numbers = None

    def _batch(self, name, rank, before, after, kind):
        self.halves[name + "a"] = Half(rank, before, after, kind)
        self.halves[name + "b"] = Half(rank, after, after, kind)

    def linear(self, name, layer, x):
        return layer(x) if self.numbers is None else self.numbers.linear(name, layer, x)

    def value(self, name, x):
        return x if self.numbers is None else self.numbers.value(name, x)

    def batch(self, name, x):
        for half in (self.halves[name + "a"], self.halves[name + "b"]):
            at = name + ("a" if half is self.halves[name + "a"] else "b")
            x = half.norm(self.linear(at, half.convolution, x))
            if isinstance(half.activation, Square):
                x = self.value(at + ".before", x)
            x = self.value(at, half.activation(x))
        return x

    def forward(self, x):
        x, skips = self.value("input", x), []
        for level in range(self.levels):
            x = self.batch(f"down{level}", self.pool(x) if level else x)
            skips.append(x)
        for level in reversed(range(self.levels - 1)):
            x = self.value(f"upconv{level}", self.linear(f"upconv{level}", self.ups[f"upconv{level}"], x))
            x = self.batch(f"up{level}", torch.cat([skips[level], x], 1))
        return self.linear("readout", self.readout, x)

    def readers(self):
        """For each value, the layers that read it; values of one concatenation as one."""
        last = self.levels - 1
        found = {("input",): ["down0a"], ("up0b",): ["readout"]}
        for level in range(self.levels):
            found[f"down{level}a",] = [f"down{level}b"]
            if level < last:
                found[f"down{level}b", f"upconv{level}"] = [f"down{level + 1}a", f"up{level}a"]
                found[f"up{level}a",] = [f"up{level}b"]
            if level:
                found[(f"up{level}b" if level < last else f"down{last}b"),] = [f"upconv{level - 1}"]
        return found

    def layers(self):
        """Every layer with weights, by name."""
        own = {name: half.convolution for name, half in self.halves.items()}
        return own | dict(self.ups.items()) | {"readout": self.readout}

    def fold(self):
        for half in self.halves.values():
            half.fold()
        return self

    def freeze(self):
        """Norms keep the statistics they have, so that a network of squares is trained as it will run: statistics of a batch hide
        the outliers that squares then blow up."""
        for half in self.halves.values():
            half.norm.eval()

    def squares(self):
        return [half.activation for half in self.halves.values() if isinstance(half.activation, (Square, Quadratic))]

    def warm_start(self, trained):
        """Takes the weights of a ReLU network of the same shape. Before a square, batch norm yields (x + r)/(2·√r)."""
        state = self.state_dict()
        state.update({name: value for name, value in trained.items() if name in state})
        self.load_state_dict(state)
        with torch.no_grad():
            for half in self.halves.values():
                if isinstance(half.activation, Square):
                    reach = half.norm.bias.abs() + REACH * half.norm.weight.abs() + 1e-3
                    half.activation.reach.copy_(reach.view(half.activation.reach.shape))
                    half.norm.bias.copy_((half.norm.bias + reach) / (2 * reach.sqrt()))
                    half.norm.weight /= 2 * reach.sqrt()
