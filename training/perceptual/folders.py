"""Folders of PNG files that the commands of this project encrypt or morph: written before, read after.

    python folders.py cifar  DATA FOLDER [--train N] [--test N] [--copies N]     DATA: the folder with the CIFAR-10 zips
    python folders.py pneumonia DATA.npz FOLDER [--train N] [--test N]
    python folders.py em DATA FOLDER [--test-from N]                             DATA: `image` and `label`, 512x512 PNG
    python folders.py tanaka|etc FOLDER NAME [--keys same|different]             the baselines of the pixel paper

The first three write FOLDER/plain/{train,test}/CLASS/*.png (em: tiles, and their labels to FOLDER/labels). `--copies`
adds shifted and flipped copies of the training images: augmentation comes before encryption, as in the paper. The last two
scramble FOLDER/plain to FOLDER/NAME: Tanaka's learnable encryption (4x4 blocks of upper and lower half bytes; values
reversed and shuffled within each block by one key for all blocks) and block-based encryption for compression (EtC: 4x4
blocks change places, are turned and mirrored, become negatives, and change their colours' order).
"""

import argparse
import io
import pathlib
import zipfile

import numpy
from PIL import Image

TILE = 128
SIDE = 32
BLOCK = 4


def save(image, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)


def read(path):
    return numpy.asarray(Image.open(path))


def shifted(image, random):
    """A copy moved by at most four pixels, the border mirrored, and turned over every other time."""
    y, x = random.integers(0, 9, 2)
    padded = numpy.pad(image, ((4, 4), (4, 4), (0, 0)), mode="reflect")
    copy = padded[y:y + image.shape[0], x:x + image.shape[1]]
    return numpy.ascontiguousarray(copy[:, ::-1] if random.random() < 0.5 else copy)


def cifar(arguments):
    parts = {"train": ("train_2000_per_class_jpg.zip", arguments.train),
             "test": ("test_500_per_class_jpg.zip", arguments.test)}
    random = numpy.random.default_rng(1)
    for part, (name, count) in parts.items():
        with zipfile.ZipFile(arguments.data / name) as archive:
            names = sorted(n for n in archive.namelist() if n.endswith(".jpg"))
            classes = sorted({pathlib.PurePath(n).parent.name for n in names})
            for label, kind in enumerate(classes):
                own = [n for n in names if pathlib.PurePath(n).parent.name == kind]
                for index, entry in enumerate(own[:count // len(classes)]):
                    image = numpy.asarray(Image.open(io.BytesIO(archive.read(entry))).convert("RGB"))
                    folder = arguments.folder / "plain" / part / str(label)
                    save(image, folder / f"{index:05}.png")
                    for copy in range(arguments.copies if part == "train" else 0):
                        save(shifted(image, random), folder / f"{index:05}_{copy}.png")


def pneumonia(arguments):
    """Parts are shuffled together, since their official order is lost, and cut anew; 28x28 images get an edge of two pixels,
    so that five poolings fit."""
    stored = numpy.load(arguments.data)
    parts = ("train", "val", "test")
    images = numpy.concatenate([stored[f"{part}_images"] for part in parts])
    labels = numpy.concatenate([stored[f"{part}_labels"] for part in parts]).reshape(-1)
    order = numpy.random.default_rng(1).permutation(len(images))
    for place, index in enumerate(order[:arguments.train + arguments.test]):
        part = "train" if place < arguments.train else "test"
        image = numpy.pad(images[index].squeeze(), (SIDE - images.shape[1]) // 2, mode="edge")
        save(image, arguments.folder / "plain" / part / str(labels[index]) / f"{index:05}.png")


def em(arguments):
    for path in sorted((arguments.data / "image").glob("*.png"), key=lambda path: int(path.stem)):
        part = "train" if int(path.stem) < arguments.test_from else "test"
        image, label = (read(arguments.data / kind / path.name) for kind in ("image", "label"))
        for y in range(0, image.shape[0], TILE):
            for x in range(0, image.shape[1], TILE):
                for turn in range(2 if part == "train" else 1):  # augmentation, before encryption
                    tiles = [whole[y:y + TILE, x:x + TILE] for whole in (image, label)]
                    tiles = [numpy.ascontiguousarray(numpy.rot90(tile)) if turn else tile for tile in tiles]
                    name = f"{int(path.stem):02}_{y}_{x}_{turn}.png"
                    save(tiles[0], arguments.folder / "plain" / part / "0" / name)
                    save(tiles[1], arguments.folder / "labels" / part / "0" / name)


def blocks(image):
    """Blocks of a square image, in rows: [block, y, x, channel]."""
    side = len(image) // BLOCK
    cut = image.reshape(side, BLOCK, side, BLOCK, -1).swapaxes(1, 2)
    return cut.reshape(side * side, BLOCK, BLOCK, -1)


def whole(cut):
    side = int(len(cut) ** 0.5)
    image = cut.reshape(side, side, BLOCK, BLOCK, -1).swapaxes(1, 2)
    return image.reshape(side * BLOCK, side * BLOCK, -1)


def tanaka_image(image, random):
    cut = blocks(image).reshape(-1, BLOCK * BLOCK * 3)
    halves = numpy.concatenate([cut >> 4, cut & 15], axis=1)
    order = random.permutation(halves.shape[1])
    negative = random.random(halves.shape[1]) < 0.5
    halves = numpy.where(negative, 15 - halves, halves)[:, order]
    upper, lower = numpy.split(halves, 2, axis=1)
    return whole(((upper << 4) | lower).astype(numpy.uint8).reshape(-1, BLOCK, BLOCK, 3))


def etc_image(image, random):
    cut = blocks(image)
    cut = cut[random.permutation(len(cut))]
    for index in range(len(cut)):
        block = numpy.rot90(cut[index], random.integers(4))
        block = block[::-1] if random.random() < 0.5 else block
        block = 255 - block if random.random() < 0.5 else block
        cut[index] = block[:, :, random.permutation(3)]
    return whole(cut)


def scramble(arguments):
    scheme = {"tanaka": tanaka_image, "etc": etc_image}[arguments.command]
    plain = arguments.folder / "plain"
    for index, path in enumerate(sorted(plain.rglob("*.png"))):
        # One seed, the key, for all images, or the image's own.
        random = numpy.random.default_rng(7 if arguments.keys == "same" else [7, index])
        save(scheme(read(path).copy(), random), arguments.folder / arguments.name / path.relative_to(plain))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, train, test in (("cifar", 5000, 1000), ("pneumonia", 4000, 1500), ("em", 0, 0)):
        command = commands.add_parser(name)
        command.add_argument("data", type=pathlib.Path)
        command.add_argument("folder", type=pathlib.Path)
        command.add_argument("--train", type=int, default=train)
        command.add_argument("--test", type=int, default=test)
        command.add_argument("--copies", type=int, default=0)
        command.add_argument("--test-from", type=int, default=22)
        command.set_defaults(run={"cifar": cifar, "pneumonia": pneumonia, "em": em}[name])
    for name in ("tanaka", "etc"):
        command = commands.add_parser(name)
        command.add_argument("folder", type=pathlib.Path)
        command.add_argument("name")
        command.add_argument("--keys", choices=["same", "different"], default="same")
        command.set_defaults(run=scramble)
    arguments = parser.parse_args()
    arguments.run(arguments)


if __name__ == "__main__":
    main()
