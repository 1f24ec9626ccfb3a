"""Folders for `train.py`, from public data or from files of your own: OUT/{train,test}/{images,labels}.

    python prepare.py em DATA OUT             ISBI 2012 slices, `image` and `label`: the last five for testing, two
                                              crops of 200x200 each
    python prepare.py hippocampus DATA OUT    Decathlon Task04, `images` and `labels`: every eighth volume for testing
    python prepare.py heart DATA OUT          HVSMR 2016 label volumes, `labels_3d`: real anatomies on 64³ voxels with
                                              SIMULATED intensities; two of the eight patients for testing
    python prepare.py pairs DATA OUT --image 'imagesTr/*_0000' --label 'labelsTr/*'
                                              files whose names have what `*` stands for in common; every fifth for testing
"""

import argparse
import pathlib
import re
import shutil
import sys

import numpy

import scans

SIDE = 64
# Mean grey of background, myocardium and blood pool in real slices of the set.
GREYS = (19, 66, 130)


def place(out, part):
    folders = [out / part / kind for kind in ("images", "labels")]
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
    return folders


def em(data, out, limit):
    from PIL import Image
    paths = sorted((data / "image").glob("*.png"), key=lambda path: int(path.stem))[:limit]
    for index, path in enumerate(paths):
        test = index >= len(paths) - max(1, len(paths) // 5)
        folders = place(out, "test" if test else "train")
        for folder, kind in zip(folders, ("image", "label")):
            whole = Image.open(data / kind / path.name)
            if not test:
                whole.save(folder / f"{int(path.stem):02}.png")
                continue
            for x, y in ((28, 28), (284, 284)):
                whole.crop((x, y, x + 200, y + 200)).save(folder / f"{int(path.stem):02}_{y}_{x}.png")


def hippocampus(data, out, limit):
    paths = sorted((data / "images").glob("*.nii.gz"))[:limit]
    for index, path in enumerate(paths):
        images, labels = place(out, "test" if index % 8 == 0 else "train")
        shutil.copyfile(path, images / path.name)
        shutil.copyfile(data / "labels" / path.name, labels / path.name)


def smooth(random, waves):
    """A random field of mean 0 and deviation 1 with structures of SIDE/waves voxels."""
    spectrum = numpy.fft.fftn(random.standard_normal((SIDE,) * 3))
    square = sum(numpy.meshgrid(*[numpy.fft.fftfreq(SIDE, 1 / SIDE) ** 2] * 3, indexing="ij"))
    field = numpy.fft.ifftn(spectrum * numpy.exp(-square / (2 * waves ** 2))).real
    return (field - field.mean()) / field.std()


def simulated(label, random):
    """Tissue greys with variation, other organs around, blurred edges, a coil's shading, and noise."""
    greys = numpy.array(GREYS) * random.uniform(0.85, 1.15, 3)
    around = numpy.where(smooth(random, 4) > 0.4, greys[1] * random.uniform(0.7, 1.3), greys[0])
    around = numpy.where(smooth(random, 5) > 1.5, greys[2], around)
    image = numpy.where(label == 0, around, greys[label]) * (1 + 0.08 * smooth(random, 10))
    for axis in range(3):
        image = (numpy.roll(image, 1, axis) + 2 * image + numpy.roll(image, -1, axis)) / 4
    image = image * (1 + 0.15 * smooth(random, 1.5))
    noise = random.normal(0, 8, (2, *image.shape))
    return numpy.hypot(image + noise[0], noise[1]).clip(0, 255).astype(numpy.uint8)


def heart(data, out, limit):
    import nibabel
    paths = sorted((data / "labels_3d").glob("*.nii.gz"))[:limit]
    for patient, path in enumerate(paths):
        whole = numpy.asanyarray(nibabel.load(path).dataobj).astype(numpy.uint8)
        spans = [numpy.flatnonzero((whole > 0).any(tuple({0, 1, 2} - {axis}))) for axis in range(3)]
        centre = [(span[0] + span[-1]) / 2 for span in spans]
        reach = [(span[-1] - span[0]) * 1.15 for span in spans]
        test = patient >= len(paths) - max(1, len(paths) // 4)
        images, labels = place(out, "test" if test else "train")
        for copy in range(2 if test else 6):
            random = numpy.random.default_rng([patient, copy])
            moved = [c + r * random.uniform(-0.04, 0.04) for c, r in zip(centre, reach)]
            at = [numpy.rint(c + r * (numpy.arange(SIDE) + 0.5 - SIDE / 2) / SIDE).astype(int) for c, r in zip(moved, reach)]
            label = whole[numpy.ix_(*[index.clip(0, extent - 1) for index, extent in zip(at, whole.shape)])]
            name = f"patient{patient}_{copy}_simulated.nii.gz"
            nibabel.save(nibabel.Nifti1Image(simulated(label, random), numpy.eye(4)), images / name)
            nibabel.save(nibabel.Nifti1Image(label, numpy.eye(4)), labels / name)


def matching(data, pattern):
    """Files of any ending by what stands for the stars; the same text for several counts once, as in `sub-*/anat/sub-*_T2star`."""
    pattern = pattern[:len(pattern) - len(pathlib.Path(pattern).name)] + scans.stem(pathlib.Path(pattern))
    shape, found = re.compile("([^/]+)".join(map(re.escape, pattern.split("*")))), {}
    for path in sorted(data.glob(pattern + "*")):
        match = shape.fullmatch(path.relative_to(data).with_name(scans.stem(path)).as_posix())
        if not match or path.name.startswith(".") or not path.name.lower().endswith(scans.ENDINGS):
            continue
        name = "_".join(dict.fromkeys(match.groups()))
        if name in found:
            raise scans.BadFolder(f"{path}: {found[name].name} would be called {name} too; let the pattern {pattern} tell them apart")
        found[name] = path
    if not found:
        raise scans.BadFolder(f"{data}: no file is like {pattern}")
    return found


def pairs(data, out, image, label, limit):
    images, labels = matching(data, image), matching(data, label)
    images = {name: path for name, path in images.items() if path not in labels.values()}
    alone = sorted(images.keys() ^ labels.keys())
    if alone:
        raise scans.BadFolder(f"{(images | labels)[alone[0]]}: {len(alone)} files, this one first, have no counterpart under {image} and {label}")
    for index, name in enumerate(sorted(images)[:limit]):
        for folder, path in zip(place(out, "test" if index % 5 == 0 else "train"), (images[name], labels[name])):
            ending = path.name[len(scans.stem(path)):].lower()
            shutil.copyfile(path, folder / (name + ending))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", choices=["em", "hippocampus", "heart", "pairs"])
    parser.add_argument("data", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--image", help="of `pairs`: the names of the scans below DATA, with * for what they share with their labels")
    parser.add_argument("--label", help="of `pairs`: the names of the labels")
    parser.add_argument("--limit", type=int, help="take this many scans only")
    arguments = parser.parse_args()
    if arguments.set != "pairs":
        {"em": em, "hippocampus": hippocampus, "heart": heart}[arguments.set](arguments.data, arguments.out, arguments.limit)
        return
    if not all(pattern and "*" in pattern for pattern in (arguments.image, arguments.label)):
        parser.error("pairs takes --image and --label, each with a * in it")
    try:
        pairs(arguments.data, arguments.out, arguments.image, arguments.label, arguments.limit)
    except scans.BadFolder as error:
        sys.exit(f"prepare.py: {error}")


if __name__ == "__main__":
    main()
