"""Folders of scans with labels: read, checked, and prepared as `bunet` prepares them.

A folder holds `images/` and `labels/` with the same file names: PNG, TIFF (a stack is a volume) or NIfTI. Axes are those of
`imaging`: rows and columns of pictures (`zyx`), nibabel's order for NIfTI (`xyz`).
"""

import pathlib

import numpy

ENDINGS = (".png", ".tif", ".tiff", ".nii", ".nii.gz")


class BadFolder(Exception):
    """What is wrong with which file, and the remedy."""


def stem(path):
    """The name without its ending, `.nii.gz` being one."""
    return next((path.name[:-len(ending)] for ending in sorted(ENDINGS, key=len, reverse=True) if path.name.endswith(ending)), path.name)


def is_nifti(path):
    return path.name.endswith((".nii", ".nii.gz"))


def read(path):
    """Grey values `[y, x]`, `[z, y, x]` of a stack, or `[x, y, z]` of NIfTI."""
    try:
        if is_nifti(path):
            import nibabel
            values = numpy.asanyarray(nibabel.load(path).dataobj)
        elif path.suffix == ".png":
            from PIL import Image
            values = numpy.asarray(Image.open(path))
        else:
            import tifffile
            values = tifffile.imread(path)
    except Exception as error:  # the libraries raise all kinds
        raise BadFolder(f"{path}: cannot be read ({error})") from error
    if values.ndim == 3 and values.shape[-1] in (3, 4) and not is_nifti(path):
        raise BadFolder(f"{path}: a colour picture; this recipe takes grey ones")
    return values


def listed(folder):
    if not folder.is_dir():
        raise BadFolder(f"{folder}: no such folder; `images` and `labels` are expected side by side")
    files = sorted(path for path in folder.iterdir() if path.name.endswith(ENDINGS))
    if not files:
        raise BadFolder(f"{folder}: no file that ends in {', '.join(ENDINGS)}")
    return {stem(path): path for path in files}


def pairs(folder, values, rank):
    """`(path, image, label)` per case; labels become 0, 1, … in the order of `values`."""
    folder = pathlib.Path(folder)
    images, labels = listed(folder / "images"), listed(folder / "labels")
    for there, here, what in ((images, labels, "label"), (labels, images, "image")):
        for name in there.keys() - here.keys():
            raise BadFolder(f"{there[name]}: no {what} of the same name")
    cases = []
    for name, path in images.items():
        image, label = read(path), read(labels[name])
        if image.shape != label.shape:
            raise BadFolder(f"{labels[name]}: {label.shape}, but its image is {image.shape}")
        if image.ndim != rank:
            raise BadFolder(f"{path}: {image.ndim} axes; the network has {rank} (--size)")
        if not numpy.isfinite(image).all():
            raise BadFolder(f"{path}: not all values are finite numbers")
        unknown = sorted(set(numpy.unique(label).tolist()) - set(values))
        if unknown:
            raise BadFolder(f"{labels[name]}: label values {unknown[:5]}, but --labels names {values}")
        lowest = numpy.full(label.shape, 0, numpy.uint8)
        for number, value in enumerate(values):
            lowest[label == value] = number
        cases.append((path, image, lowest))
    if len({is_nifti(path) for path, _, _ in cases}) > 1:
        raise BadFolder(f"{folder}: NIfTI and other files mixed; their axes differ")
    return cases


def preprocessing(intensity, cases, rank):
    """The manifest's `preprocessing`, as `bunet import --preprocessing` reads it."""
    if intensity == "zscore":
        steps = {"zscore": {"clip": 4.0}}
    else:
        if not numpy.issubdtype(cases[0][1].dtype, numpy.integer):
            raise BadFolder(f"{cases[0][0]}: fractions have no largest value; take --intensity zscore")
        steps = {"unit": {"divisor": {"value": float(numpy.iinfo(cases[0][1].dtype).max)}}}
    size = {"patches": {"overlap": 32}} if rank == 2 else "centre_pad_crop"
    axes = "xyz" if is_nifti(cases[0][0]) else "zyx"
    return {"axes": axes, "colour": "grey", "intensity": steps, "size": size}


def normalised(image, steps):
    """Grey values as the network reads them."""
    image = image.astype(numpy.float64)
    if "unit" in steps["intensity"]:
        return (image / steps["intensity"]["unit"]["divisor"]["value"]).astype(numpy.float32)
    clip = steps["intensity"]["zscore"]["clip"]
    deviation = image.std()
    if deviation == 0:
        raise BadFolder("an image is constant: no contrast to normalise")
    return (((image - image.mean()) / deviation).clip(-clip, clip) / clip).astype(numpy.float32)


def fitted(array, size, start=None):
    """`array` in a window of `size`: zeros around where it is smaller, cut where it is larger. Without `start`, which says
    where the cut begins on each axis, around the centre."""
    for axis, wanted in enumerate(size):
        found = array.shape[axis]
        if found < wanted:
            before = (wanted - found) // 2
            widths = [(0, 0)] * array.ndim
            widths[axis] = (before, wanted - found - before)
            array = numpy.pad(array, widths)
        else:
            begin = (found - wanted) // 2 if start is None else start[axis]
            array = array.take(range(begin, begin + wanted), axis)
    return array


def write_labels(path, labels, values, source):
    """On the grid of the scan in `source`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    stored = numpy.array(values, numpy.uint8)[labels]
    if is_nifti(path):
        import nibabel
        nibabel.save(nibabel.Nifti1Image(stored, nibabel.load(source).affine), path)
    elif path.suffix == ".png":
        from PIL import Image
        Image.fromarray(stored).save(path)
    else:
        import tifffile
        tifffile.imwrite(path, stored)
