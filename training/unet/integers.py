"""Runs a bundle that `bunet import` made over a folder, in the clear, on its integers: what a blind run must yield.

    python integers.py MODEL.bunet FOLDER [--limit N] [--write FOLDER]

Written apart from `models::reference`, from the meaning of the operators alone; sums are exact, in 64-bit floats below 2^53.
Prints mean Dice per label over the cases of FOLDER (`images/`, `labels/`); `--write` keeps the labels, on the scans' own grids.
"""

import argparse
import itertools
import json
import pathlib
import sys

import numpy
import torch
from safetensors.torch import load_file
from torch.nn import functional

import scans


def truncate(x, shift):
    """Half up."""
    return torch.floor((x + (2.0 ** (shift - 1) if shift else 0)) / 2.0 ** shift)


def padded(x, window, value=0.0):
    pads = [p for before, after in zip(reversed(window["pad_before"]), reversed(window["pad_after"])) for p in (before, after)]
    return functional.pad(x, pads, value=value) if any(pads) else x


def flat(window, *tensors):
    """Depth 1 everywhere is a picture: its convolutions are quicker."""
    planar = window["kernel"][0] == window["stride"][0] == 1 and tensors[0].shape[2] == 1
    return planar, [tensor.squeeze(2) if planar else tensor for tensor in tensors]


def linear(kind, x, window, weight, bias):
    if kind == "conv":
        x = padded(x, window)
    elif any(window["pad_before"] + window["pad_after"]) or window["dilation"] != [1, 1, 1]:
        raise scans.BadFolder("a transposed convolution with padding or dilation: not known here")
    planar, (x, weight) = flat(window, x, weight)
    rest = slice(1, None) if planar else slice(None)
    stride, dilation = window["stride"][rest], window["dilation"][rest]
    if kind == "conv":
        y = (functional.conv2d if planar else functional.conv3d)(x, weight, bias, stride, 0, dilation)
    else:
        y = (functional.conv_transpose2d if planar else functional.conv_transpose3d)(x, weight, bias, stride)
    return y.unsqueeze(2) if planar else y


def evaluate(op, inputs, weights):
    kind, how = (op, {}) if isinstance(op, str) else next(iter(op.items()))
    x, window = inputs[0], how.get("window") if how else None
    match kind:
        case "conv" | "conv_transpose":
            return linear(kind, x, window, *weights)
        case "relu":
            return truncate(x, how["shift"]).clamp(min=0)
        case "truncate":
            return truncate(x, how["shift"])
        case "raise":
            return x * 2.0 ** how["shift"]
        case "scale":
            return x * float(how["factor"])
        case "square":
            return x * x
        case "quadratic":
            weight, bias = weights
            factors = [part.view(1, -1, 1, 1, 1) for part in (weight[:, 0], weight[:, 1], bias)]
            return (factors[0] * x + factors[1]) * x + factors[2]
        case "avg_pool":
            kernel = torch.ones(x.shape[1], 1, *window["kernel"], dtype=x.dtype)
            return functional.conv3d(padded(x, window), kernel, None, window["stride"], groups=x.shape[1])
        case "max_pool":
            return functional.max_pool3d(padded(x, window, -float("inf")), window["kernel"], window["stride"])
        case "concat":
            return torch.cat(inputs, 1)
        case "add":
            return sum(inputs)
        case "arg_max":
            return (x == x.amax(1, True)).double().argmax(1, True)  # ties go to the lowest label
        case "threshold":
            return (x > how["at"]).double()
    raise scans.BadFolder(f"operator `{kind}`: not known here")


class Bundle:
    def __init__(self, folder):
        self.manifest = json.loads((folder / "manifest.json").read_text())
        stored = load_file(folder / "weights.safetensors")
        self.weights = {name: tensor.double() for name, tensor in stored.items()}
        self.nodes = self.manifest["graph"]["nodes"]
        channels, self.extents = self.nodes[0]["shape"]["channels"], self.nodes[0]["shape"]["dims"]
        if channels != 1:
            raise scans.BadFolder(f"{folder}: reads {channels} channels; grey scans have one")

    def values(self, folder):
        """What stands for each label in the files of a folder: NIfTI counts, pictures have grey values."""
        greys = [label["grey"] for label in self.manifest["labels"]]
        return list(range(len(greys))) if any(map(scans.is_nifti, (folder / "labels").iterdir())) else greys

    @torch.no_grad()
    def labels(self, image):
        """Of one input `[d, h, w]`, normalised."""
        edge = self.manifest["edges"][0]
        scaled = torch.from_numpy(image).double() * edge["divisor"] * 2.0 ** edge["frac"]
        rounded = torch.sign(scaled) * torch.floor(scaled.abs() + 0.5)  # halves away from zero
        values = [rounded.clamp(-edge["bound"], edge["bound"])[None, None]]
        last = {reader: index for index, node in enumerate(self.nodes) for reader in node["inputs"]}
        for index, node in enumerate(self.nodes[1:], 1):
            name = node["name"]
            weights = (self.weights[name + ".weight"], self.weights[name + ".bias"]) if name + ".weight" in self.weights else None
            values.append(evaluate(node["op"], [values[i] for i in node["inputs"]], weights))
            for old in node["inputs"]:
                if last[old] == index:
                    values[old] = None
        return values[-1][0, 0].numpy().astype(numpy.uint8)

    def segment(self, scan):
        """Labels on the scan's own grid."""
        steps, extents = self.manifest["preprocessing"], self.extents
        grid = scans.Grid(scan, steps, self.manifest["graph"]["rank"] == 2)
        image = scans.normalised(grid.image(scan.values), steps)
        if steps["size"] == "centre_pad_crop":
            return grid.back(scans.fitted(self.labels(scans.fitted(image, extents)), image.shape))
        found, overlap = numpy.zeros(image.shape, numpy.uint8), steps["size"]["patches"]["overlap"]
        patches = [scans.spans(extent, wanted, overlap) for extent, wanted in zip(image.shape, extents)]
        for spans in itertools.product(*patches):
            part = tuple(slice(start, start + wanted) for (start, _, _), wanted in zip(spans, extents))
            labels = scans.fitted(self.labels(scans.fitted(image[part], extents)), image[part].shape)
            own = tuple(slice(low, high) for _, low, high in spans)
            inside = tuple(slice(low - start, high - start) for start, low, high in spans)
            found[own] = labels[inside]
        return grid.back(found)


def dice(found, label):
    """Per label; none where neither has it."""
    total = lambda n: (found == n).sum() + (label == n).sum()
    return lambda n: 2 * ((found == n) & (label == n)).sum() / total(n) if total(n) else None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--write", type=pathlib.Path)
    parser.add_argument("--values", type=int, nargs="+", help="what stands for the labels in the files of FOLDER [default: 0, 1, … in "
                        "NIfTI, the grey values of the bundle in pictures]")
    arguments = parser.parse_args()
    try:
        bundle = Bundle(arguments.model)
        kinds, values = bundle.manifest["labels"], arguments.values or bundle.values(arguments.folder)
        rank = bundle.manifest["graph"]["rank"]
        scores = []
        for scan in scans.pairs(arguments.folder, values, rank)[:arguments.limit]:
            found = bundle.segment(scan)
            of = dice(found, scan.label)
            scores.append([of(n) for n in range(len(kinds))])
            if arguments.write:
                scans.write_labels(arguments.write / scan.path.name, found, values, scan.path)
    except scans.BadFolder as error:
        sys.exit(f"integers.py: {error}")
    columns = [[score for score in column if score is not None] for column in zip(*scores)]
    mean = {kind["name"]: round(float(numpy.mean(column)), 4) for kind, column in zip(kinds, columns) if column}
    print(json.dumps({"model": str(arguments.model), "share_bits": bundle.manifest["share_bits"], "cases": len(scores), "dice": mean}))


if __name__ == "__main__":
    main()
