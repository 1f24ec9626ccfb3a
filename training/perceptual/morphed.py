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
network and epoch. `python morphed.py curves OUT.svg LOG` draws them.
"""

import argparse
import json
import pathlib
import time

import numpy
import torch
from PIL import Image
from safetensors.numpy import load_file
from torch import nn

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


def files(folder, ending):
    found = sorted(folder.glob("*/*" + ending))
    return found, torch.tensor([int(file.parent.name) for file in found])


def plain(folder):
    """As `bunet` prepares them: grey values over the largest one."""
    found, labels = files(folder, ".png")
    images = numpy.stack([numpy.asarray(Image.open(file)) for file in found])
    images = images[:, None] if images.ndim == 3 else images.transpose(0, 3, 1, 2)
    return torch.from_numpy(numpy.ascontiguousarray(images)).float() / 255, labels


def augmented(folder, layer):
    """T·C_ac + bias of every morphed image: the augmented layer stays as it is, so once is enough."""
    found, labels = files(folder, ".morphed")
    morphed = torch.stack([torch.from_numpy(load_file(file)["morphed"]) for file in found])
    tensors = {name: torch.from_numpy(value) for name, value in load_file(layer).items()}
    blocks = [tensors[f"block.{index}"] for index in range(sum(name.startswith("block.") for name in tensors))]
    channels, side = len(tensors["bias"]), int((morphed.shape[1] // load_channels(layer)) ** 0.5)
    sums = torch.zeros(len(found), channels, side * side, dtype=torch.float64)
    for index, part in enumerate(morphed.chunk(len(blocks), 1)):
        matrix, voxels = tensors[f"matrix.{blocks[index][0]}"], blocks[index][1:]
        sums[:, :, voxels] += (part @ matrix.T).view(len(found), channels, -1)
    sums += tensors["bias"][:, None]
    return sums.view(len(found), channels, side, side).float(), labels


def load_channels(layer):
    from safetensors import safe_open
    with safe_open(layer, "np") as stored:
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


@torch.no_grad()
def test(network, images, labels):
    network.eval()
    scores = torch.cat([network(part).flatten(1) for part in images.split(250)])
    return {"loss": round(nn.functional.cross_entropy(scores, labels).item(), 4),
            "accuracy": round((scores.argmax(1) == labels).float().mean().item(), 4)}


def train(kind, arguments):
    folder = arguments.folder
    network = torch.load(folder / "vgg.pt", weights_only=False)
    if kind == "morphed":
        (images, labels), (others, truth) = (
            augmented(folder / "morphed" / part, folder / "layer.safetensors") for part in ("train", "test"))
        network = network[1:]  # what stands before is in the layer
    else:
        (images, labels), (others, truth) = (plain(folder / "plain" / part) for part in ("train", "test"))
        if kind == "frozen":
            network[0].requires_grad_(False)
    torch.manual_seed(arguments.seed)
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimiser = torch.optim.SGD(parameters, arguments.rate, momentum=0.9, weight_decay=5e-4)
    steps = arguments.epochs * -(-len(images) // arguments.batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, arguments.rate, total_steps=steps)
    begin = time.process_time()
    for epoch in range(1, arguments.epochs + 1):
        network.train()
        loss_sum, right = 0.0, 0
        for part in torch.randperm(len(images)).split(arguments.batch):
            optimiser.zero_grad()
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=arguments.bf16):
                scores = network(images[part]).flatten(1)
                loss = nn.functional.cross_entropy(scores, labels[part])
            loss.backward()
            optimiser.step()
            schedule.step()
            loss_sum += loss.item() * len(part)
            right += (scores.argmax(1) == labels[part]).sum().item()
        yield {"network": kind, "epoch": epoch,
               "train": {"loss": round(loss_sum / len(images), 4), "accuracy": round(right / len(images), 4)},
               "test": test(network, others, truth), "images": len(images), "width": network[0].out_channels if kind != "morphed" else images.shape[1],
               "seed": arguments.seed, "cpu_seconds": round(time.process_time() - begin, 1)}


def curves(arguments):
    import matplotlib
    matplotlib.use("svg")
    from matplotlib import pyplot
    lines = [json.loads(line) for line in arguments.log.read_text().splitlines()]
    figure, axes = pyplot.subplots(1, 2, figsize=(9, 3.4))
    for axis, metric in zip(axes, ("loss", "accuracy")):
        for kind, colour in (("plain", "tab:blue"), ("frozen", "tab:green"), ("morphed", "tab:red")):
            for part, style in (("train", "--"), ("test", "-")):
                points = [(line["epoch"], line[part][metric]) for line in lines if line["network"] == kind]
                axis.plot(*zip(*points), style, color=colour, label=f"{kind}, {part}") if points else None
        axis.set_xlabel("epoch")
        axis.set_title(metric)
    axes[1].legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(arguments.folder)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("start", "train", "curves"):
        command = commands.add_parser(name)
        command.add_argument("folder", type=pathlib.Path)
        command.add_argument("--seed", type=int, default=1)
    commands.choices["start"].add_argument("--width", type=int, default=64)
    training = commands.choices["train"]
    training.add_argument("kinds", nargs="+", choices=["plain", "frozen", "morphed"])
    training.add_argument("--epochs", type=int, default=20)
    training.add_argument("--batch", type=int, default=64)
    training.add_argument("--rate", type=float, default=0.05)
    training.add_argument("--bf16", action="store_true", help="multiply in 16 bits: faster on recent processors")
    training.add_argument("--log", type=pathlib.Path, help="a file to append the lines to")
    commands.choices["curves"].add_argument("log", type=pathlib.Path)
    arguments = parser.parse_args()
    if arguments.command == "train":
        for kind in arguments.kinds:
            for line in train(kind, arguments):
                print(json.dumps(line), flush=True)
                if arguments.log:
                    with arguments.log.open("a") as log:
                        log.write(json.dumps(line) + "\n")
    else:
        {"start": start, "curves": curves}[arguments.command](arguments)


if __name__ == "__main__":
    main()
