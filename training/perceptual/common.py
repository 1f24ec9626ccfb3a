"""What the three trainings share: labelled folders of PNG files, the loop over epochs, flags and lines of JSON."""

import json
import pathlib

import numpy
import torch
from PIL import Image


def labelled(folder, ending=".png"):
    """Files FOLDER/CLASS/*, in order, and the numbers of their classes."""
    files = sorted(folder.glob("*/*" + ending))
    if not files:
        raise SystemExit(f"{folder}: no files CLASS/*{ending}; see folders.py")
    return files, torch.tensor([int(file.parent.name) for file in files])


def pictures(files):
    """Grey values 0 to 255 `[image, channel, height, width]`."""
    images = numpy.stack([numpy.asarray(Image.open(file)) for file in files])
    images = images[:, None] if images.ndim == 3 else images.transpose(0, 3, 1, 2)
    return torch.from_numpy(numpy.ascontiguousarray(images)).float()


def epochs(network, optimiser, images, labels, loss_of, arguments):
    """Trains; after every epoch yields mean loss and accuracy over the training images. The rate rises and falls once."""
    steps = arguments.epochs * -(-len(images) // arguments.batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, arguments.rate, total_steps=steps)
    for _ in range(arguments.epochs):
        network.train()
        loss_sum, right = 0.0, 0
        for part in torch.randperm(len(images)).split(arguments.batch):
            optimiser.zero_grad()
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=arguments.bf16):
                scores = network(images[part])
                loss = loss_of(scores, labels[part])
            loss.backward()
            optimiser.step()
            schedule.step()
            loss_sum += loss.item() * len(part)
            right += (scores.argmax(1) == labels[part]).sum().item()
        yield {"loss": round(loss_sum / len(images), 4), "accuracy": round(right / labels.numel(), 4)}


@torch.no_grad()
def scores(network, images, part=250):
    network.eval()
    return torch.cat([network(some) for some in images.split(part)])


def training_flags(command, epochs, batch, rate):
    command.add_argument("--epochs", type=int, default=epochs)
    command.add_argument("--batch", type=int, default=batch)
    command.add_argument("--rate", type=float, default=rate)
    command.add_argument("--seed", type=int, default=1)
    command.add_argument("--bf16", action="store_true", help="multiply in 16 bits: faster on recent processors")
    command.add_argument("--log", type=pathlib.Path, help="a file to append the lines to")


def say(line, log):
    """One line of JSON to the terminal and, if asked for, to a file."""
    text = json.dumps(line)
    print(text, flush=True)
    if log:
        with log.open("a") as file:
            file.write(text + "\n")
