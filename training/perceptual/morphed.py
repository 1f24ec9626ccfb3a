"""Training on morphed images (Figures 2 and 3 of the MpLe paper): a VGG-16-type classifier with and without morphing.

    python folders.py cifar DATA FOLDER                                       (or pneumonia)
    python morphed.py start FOLDER [--width N]                                writes FOLDER/vgg.{onnx,pt,json}
    bunet morph first -m FOLDER/vgg.onnx --preprocessing FOLDER/vgg.json -o FOLDER/first.safetensors    the provider
    bunet morph keygen -m FOLDER/first.safetensors --kappa 48 -o KEY          the data holder, from here on
    bunet morph augment -m FOLDER/first.safetensors -k KEY -o FOLDER/layer.safetensors
    bunet morph apply --each -i FOLDER/plain -m FOLDER/first.safetensors -k KEY -o FOLDER/morphed
    python morphed.py train FOLDER plain frozen morphed [--epochs N] [--log FILE]            the provider, who trains

`plain` trains all layers on plain images; `frozen` keeps the first layer as it is, which is what morphing asks for;
`morphed` reads the morphed images and the augmented layer, and neither the images nor the key. One line of JSON per
network and epoch. `python morphed.py curves OUT.svg LOG` draws them, means over seeds where there are several.
"""

import argparse
import json
import pathlib
import time
from statistics import mean

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn

from common import epochs, labelled, pictures, say, scores, training_flags

CONFIGURATION = [1, 1, "M", 2, 2, "M", 4, 4, 4, "M", 8, 8, 8, "M", 8, 8, 8, "M"]


def vgg16(width, channels, classes):
    """VGG-16's thirteen convolutions with batch normalisation after all but the first, `width` for 64, and 1x1 convolutions
    for the dense layers: on 32x32 images it is the same."""
    layers, before = [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()], width
    for entry in CONFIGURATION[1:]:
        if entry == "M":
            layers.append(nn.MaxPool2d(2))
        else:
            after = entry * width
            layers += [nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU()]
            before = after
    return nn.Sequential(*layers, nn.Conv2d(before, before, 1), nn.ReLU(), nn.Conv2d(before, classes, 1))


def plain(folder):
    """As `bunet` prepares them: grey values over the largest one."""
    files, labels = labelled(folder)
    return pictures(files) / 255, labels


def augmented(folder, layer):
    """T·C_ac + bias of every morphed image: the augmented layer stays as it is, so once is enough."""
    found, labels = labelled(folder, ".morphed")
    morphed = torch.stack([load_file(file)["morphed"] for file in found])
    tensors = load_file(layer)
    blocks = [tensors[f"block.{index}"] for index in range(sum(name.startswith("block.") for name in tensors))]
    channels, side = len(tensors["bias"]), int((morphed.shape[1] // load_channels(layer)) ** 0.5)
    sums = torch.zeros(len(found), channels, side * side, dtype=torch.float64)
    for index, part in enumerate(morphed.chunk(len(blocks), 1)):
        matrix, voxels = tensors[f"matrix.{blocks[index][0]}"], blocks[index][1:]
        sums[:, :, voxels] += (part @ matrix.T).view(len(found), channels, -1)
    sums += tensors["bias"][:, None]
    return sums.view(len(found), channels, side, side).float(), labels


def load_channels(layer):
    with safe_open(layer, "pt") as stored:
        return json.loads(stored.metadata()["about"])["input"]["channels"]


def start(arguments):
    torch.manual_seed(arguments.seed)
    images, labels = plain(arguments.folder / "plain" / "test")
    network = vgg16(arguments.width, images.shape[1], int(labels.max()) + 1)
    torch.save(network, arguments.folder / "vgg.pt")
    preprocessing = {"colour": "rgb" if images.shape[1] == 3 else "grey", "intensity": {"unit": {"divisor": "type_max"}},
                     "size": "exact"}
    (arguments.folder / "vgg.json").write_text(json.dumps(preprocessing))
    torch.onnx.export(network.eval(), images[:1], arguments.folder / "vgg.onnx", dynamo=False)


def test(network, images, labels):
    found = scores(network, images)
    return {"loss": round(nn.functional.cross_entropy(found, labels).item(), 4),
            "accuracy": round((found.argmax(1) == labels).float().mean().item(), 4)}


def train(kind, arguments):
    folder = arguments.folder
    network = torch.load(folder / "vgg.pt", weights_only=False)  # our own file
    width = network[0].out_channels
    if kind == "morphed":
        (images, labels), (others, truth) = (
            augmented(folder / "morphed" / part, folder / "layer.safetensors") for part in ("train", "test"))
        network = network[1:]  # what stands before is in the layer
    else:
        (images, labels), (others, truth) = (plain(folder / "plain" / part) for part in ("train", "test"))
        if kind == "frozen":
            network[0].requires_grad_(False)
    network = nn.Sequential(*network, nn.Flatten())
    torch.manual_seed(arguments.seed)
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimiser = torch.optim.SGD(parameters, arguments.rate, momentum=0.9, weight_decay=5e-4)
    begin = time.process_time()
    done = epochs(network, optimiser, images, labels, nn.functional.cross_entropy, arguments)
    for epoch, figures in enumerate(done, 1):
        yield {"network": kind, "epoch": epoch, "train": figures, "test": test(network, others, truth), "images": len(images),
               "width": width, "seed": arguments.seed, "cpu_seconds": round(time.process_time() - begin, 1)}


def curves(arguments):
    import matplotlib
    matplotlib.use("svg")
    from matplotlib import pyplot
    lines = [json.loads(line) for line in arguments.log.read_text().splitlines()]
    figure, axes = pyplot.subplots(1, 2, figsize=(9, 3.4))
    for axis, metric in zip(axes, ("loss", "accuracy")):
        for kind, colour in (("plain", "tab:blue"), ("frozen", "tab:green"), ("morphed", "tab:red")):
            for part, style in (("train", "--"), ("test", "-")):
                own = [line for line in lines if line["network"] == kind]
                epochs_seen = sorted({line["epoch"] for line in own})
                means = [mean(line[part][metric] for line in own if line["epoch"] == epoch) for epoch in epochs_seen]
                axis.plot(epochs_seen, means, style, color=colour, label=f"{kind}, {part}")
        axis.set_xlabel("epoch")
        if metric == "loss":
            axis.set_yscale("log")  # the first epochs' test losses are far off
        axis.set_title(metric)
    axes[1].legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(arguments.folder)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("start", "train", "curves"):
        commands.add_parser(name).add_argument("folder", type=pathlib.Path)
    beginning, training = commands.choices["start"], commands.choices["train"]
    beginning.add_argument("--width", type=int, default=64)
    beginning.add_argument("--seed", type=int, default=1)
    training.add_argument("kinds", nargs="+", choices=["plain", "frozen", "morphed"])
    training_flags(training, epochs=20, batch=64, rate=0.05)
    commands.choices["curves"].add_argument("log", type=pathlib.Path)
    arguments = parser.parse_args()
    if arguments.command == "train":
        for kind in arguments.kinds:
            for line in train(kind, arguments):
                say(line, arguments.log)
    else:
        {"start": start, "curves": curves}[arguments.command](arguments)


if __name__ == "__main__":
    main()
