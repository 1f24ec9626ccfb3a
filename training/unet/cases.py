"""The scans of a folder as a network reads them: cut at random to train on, whole to score on."""

import numpy
import torch

import scans


def values_of(labels):
    return [index if value is None else value for index, (_, value) in enumerate(labels)]


def part(count, fold, held):
    """The indices of fold `i/k`, or of all but it: blocks in name order, so that neighbouring slices and the scans of one patient,
    which tend to have similar names, stay together."""
    index, folds = fold
    own = range(count * (index - 1) // folds, count * index // folds)
    return list(own) if held else [i for i in range(count) if i not in own]


class Cases:
    def __init__(self, folder, settings, steps=None, held=False):
        """Of a training with `fold`, all but that fold; with `held`, that fold."""
        rank, values = len(settings["size"]), values_of(settings["labels"])
        self.rank = rank
        self.size, self.cut = ([1] * (3 - rank) + settings[key] for key in ("size", "cut"))
        found = scans.pairs(folder, values, rank)
        if settings.get("fold"):
            chosen = part(len(found), settings["fold"], held)
            if not chosen or len(chosen) == len(found):
                raise scans.BadFolder(f"{folder}: {len(found)} scans do not make {settings['fold'][1]} folds")
            found = [found[index] for index in chosen]
        self.steps = steps or scans.preprocessing(settings, found)
        self.scans = found
        self.grids = [scans.Grid(scan, self.steps, rank == 2) for scan in found]
        self.images = [normalised(scan, grid, self.steps) for scan, grid in zip(found, self.grids)]
        self.labels = [grid.labels(scan.label) for scan, grid in zip(found, self.grids)]
        self.foreground = settings.get("foreground", 0)

    def draw(self, index, random, flips, jitter):
        image, label = self.images[index], self.labels[index]
        room = [max(found - wanted, 0) for found, wanted in zip(image.shape, self.cut)]
        start = [random.integers(extent + 1) for extent in room]
        if self.foreground and random.random() < self.foreground and label.any():
            voxels = numpy.argwhere(label)
            centre = voxels[random.integers(len(voxels))]
            start = [min(max(at - wanted // 2, 0), extent) for at, wanted, extent in zip(centre, self.cut, room)]
        image, label = (scans.fitted(array, self.cut, start) for array in (image, label))
        for axis in flips:
            if random.random() < 0.5:
                image, label = (numpy.flip(array, axis + 3 - self.rank) for array in (image, label))
        if jitter:
            image = image * (1 + jitter * random.uniform(-1, 1)) + jitter * random.uniform(-0.5, 0.5) * image.std()
        shape = self.cut[3 - self.rank:]
        return numpy.ascontiguousarray(image, numpy.float32).reshape(shape), numpy.ascontiguousarray(label).reshape(shape)

    def batch(self, indices, random, flips, jitter):
        drawn = [self.draw(index, random, flips, jitter) for index in indices]
        images, labels = (torch.from_numpy(numpy.stack(part)) for part in zip(*drawn))
        return images[:, None], labels.long()

    def whole(self, index, unit):
        """A scan in one piece, slices as a batch, and where it lies in there. Where patches will be run, the network takes pieces of
        any size that its poolings divide."""
        image = self.images[index]
        size = list(self.size)
        if "patches" in self.steps["size"]:
            size = [max(wanted, -(-found // unit) * unit) for found, wanted in zip(image.shape, size)]
        size[0] = len(image) if self.rank == 2 else size[0]
        fitted = torch.from_numpy(scans.fitted(image, size))
        return fitted[:, None] if self.rank == 2 else fitted[None, None]


def normalised(scan, grid, steps):
    try:
        return scans.normalised(grid.image(scan.values), steps)
    except scans.BadFolder as error:
        raise scans.BadFolder(f"{scan.path}: {error}") from error


@torch.no_grad()
def score(network, settings, cases, indices=None):
    """Mean Dice over cases of every label, on the scans' own grids, and of answering one label everywhere, the best one."""
    network.eval()
    count, unit = len(settings["labels"]), 2 ** (len(settings["channels"]) - 1)
    dice, trivial = ([[] for _ in range(count)] for _ in range(2))
    indices = range(len(cases.images)) if indices is None else indices
    for index in indices:
        label, grid = cases.scans[index].label, cases.grids[index]
        found = network(cases.whole(index, unit)).argmax(1).numpy().astype(numpy.uint8)
        found = found if cases.rank == 2 else found[0]
        found = grid.back(scans.fitted(found, grid.shape))
        for number in range(count):
            own = label == number
            if own.any() or (found == number).any():
                dice[number].append(2 * (own & (found == number)).sum() / (own.sum() + (found == number).sum()))
            if own.any():
                trivial[number].append(2 * own.sum() / (own.sum() + own.size))
    mean = lambda part: {name: round(float(numpy.mean(values)), 4) if values else None
                         for (name, _), values in zip(settings["labels"], part)}
    return {"cases": len(indices), "dice": mean(dice), "all_one_label": mean(trivial)}
