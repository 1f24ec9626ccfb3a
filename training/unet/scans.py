"""Folders of scans with labels: read, checked, and prepared as `imaging` prepares them.

A folder holds `images/` and `labels/` with the same file names: PNG, TIFF (a stack is a volume) or NIfTI. A scan as stored is
`[x, y, z]` (NIfTI; z = 1 for a plane) or `[z, y, x]` (pictures and stacks). What a network reads is `[D, H, W]`: of a planar
network D counts the slices, which lie along z.
"""

import dataclasses
import math
import pathlib

import numpy

ENDINGS = (".png", ".tif", ".tiff", ".nii", ".nii.gz")
WORLD = ("RL", "AP", "SI")


class BadFolder(Exception):
    """What is wrong with which file, and the remedy."""


@dataclasses.dataclass
class Scan:
    path: pathlib.Path
    values: numpy.ndarray
    affine: numpy.ndarray | None  # none for pictures, whose place in the patient nobody knows
    spacing: list | None
    label: numpy.ndarray | None = None


def stem(path):
    """The name without its ending, `.nii.gz` being one."""
    ending = next((ending for ending in sorted(ENDINGS, key=len, reverse=True) if path.name.lower().endswith(ending)), "")
    return path.name[:len(path.name) - len(ending)]


def is_nifti(path):
    return path.name.lower().endswith((".nii", ".nii.gz"))


def read(path):
    """A scan without labels."""
    try:
        if is_nifti(path):
            return nifti(path)
        if path.suffix.lower() == ".png":
            from PIL import Image
            values = numpy.asarray(Image.open(path))
        else:
            import tifffile
            values = tifffile.imread(path)
    except BadFolder:
        raise
    except Exception as error:  # the libraries raise all kinds
        raise BadFolder(f"{path}: cannot be read ({error})") from error
    if values.ndim == 3 and values.shape[-1] in (3, 4):
        raise BadFolder(f"{path}: a colour picture; this recipe takes grey ones")
    if values.ndim not in (2, 3):
        raise BadFolder(f"{path}: {values.ndim} axes; pictures have two and stacks three")
    return Scan(path, values.reshape(-1, *values.shape[-2:]), None, None)


def nifti(path):
    import nibabel
    image = nibabel.load(path)
    header, values = image.header, numpy.asanyarray(image.dataobj)
    if values.ndim < 2 or values.dtype.names or any(extent != 1 for extent in values.shape[3:]):
        raise BadFolder(f"{path}: {values.dtype} of {values.shape}; one grey volume is expected")
    spacing = ([float(zoom) for zoom in header.get_zooms()] + [1.0])[:3]
    # Not `image.affine`, which mirrors x where the header has neither form; the format does not.
    if header["sform_code"] > 0:
        affine = header.get_sform()
    else:
        affine = header.get_qform() if header["qform_code"] > 0 else numpy.diag([*spacing, 1.0])
    return Scan(path, values.reshape((*values.shape, 1)[:3]), affine, spacing)


def listed(folder):
    if not folder.is_dir():
        raise BadFolder(f"{folder}: no such folder; `images` and `labels` are expected side by side")
    files = sorted(path for path in folder.iterdir() if path.name.lower().endswith(ENDINGS) and path.name[0] != ".")
    if not files:
        raise BadFolder(f"{folder}: no file that ends in {', '.join(ENDINGS)}")
    return {stem(path): path for path in files}


def pairs(folder, values, rank):
    """The scans of a folder in name order; their labels become 0, 1, … in the order of `values`."""
    folder = pathlib.Path(folder)
    images, labels = listed(folder / "images"), listed(folder / "labels")
    for there, here, what in ((images, labels, "label"), (labels, images, "image")):
        for name in there.keys() - here.keys():
            raise BadFolder(f"{there[name]}: no {what} of the same name (`prepare.py pairs` sorts out other names)")
    cases = []
    for name, path in images.items():
        scan, label = read(path), read(labels[name])
        if scan.values.shape != label.values.shape:
            raise BadFolder(f"{label.path}: {label.values.shape}, but its image is {scan.values.shape}")
        if is_nifti(path) and is_nifti(label.path) and turn(scan, "RAS") != turn(label, "RAS"):
            raise BadFolder(f"{label.path}: its axes point elsewhere than those of its image; write it on the image's grid")
        if rank == 3 and 1 in (scan.values.shape[0], scan.values.shape[2]):
            raise BadFolder(f"{path}: one slice; the network reads volumes (--size)")
        if not numpy.isfinite(scan.values).all():
            raise BadFolder(f"{path}: not all values are finite numbers")
        unknown = sorted(set(numpy.unique(label.values).tolist()) - set(values))
        if unknown:
            raise BadFolder(f"{label.path}: label values {unknown[:5]}, but --labels names {values}")
        scan.label = numpy.zeros(label.values.shape, numpy.uint8)
        for number, value in enumerate(values):
            scan.label[label.values == value] = number
        cases.append(scan)
    if len({is_nifti(scan.path) for scan in cases}) > 1:
        raise BadFolder(f"{folder}: NIfTI and other files mixed; their axes differ")
    return cases


def preprocessing(settings, cases):
    """The manifest's `preprocessing`, as `bunet import --preprocessing` reads it. NIfTI scans are turned to --orientation and
    resampled to --spacing, or the middle one of each axis; scans larger than the network's input go through in patches."""
    if settings["intensity"] == "zscore":
        intensity = {"zscore": {"clip": 4.0}}
    else:
        if not numpy.issubdtype(cases[0].values.dtype, numpy.integer):
            raise BadFolder(f"{cases[0].path}: fractions have no largest value; take --intensity zscore")
        intensity = {"unit": {"divisor": {"value": float(numpy.iinfo(cases[0].values.dtype).max)}}}
    steps = {"axes": "zyx", "colour": "grey", "orientation": None, "spacing": None, "intensity": intensity}
    if cases[0].affine is not None:
        steps |= {"axes": "xyz", "orientation": settings["orientation"], "spacing": settings["spacing"]}
        if steps["spacing"] is None:
            found = [[scan.spacing[axis] for axis in turn(scan, steps["orientation"])[0]] for scan in cases]
            steps["spacing"] = [round(float(middle), 3) for middle in numpy.median(found, 0)]
    size = settings["size"]
    planar = len(size) == 2
    larger = any(extent > wanted for scan in cases for extent, wanted in zip(Grid(scan, steps, planar).shape[-len(size):], size))
    steps["size"] = {"patches": {"overlap": min(32, min(size) // 4)}} if planar or larger else "centre_pad_crop"
    return steps


def turn(scan, codes):
    """Which stored axis each of x, y, z comes from when they shall point to `codes`, and which of them are read backwards. Every
    stored axis is taken for the world axis it is closest to, best fit first."""
    if codes is None or scan.affine is None:
        return (0, 1, 2), ()
    part = scan.affine[:3, :3]
    lengths = numpy.linalg.norm(part, axis=0)
    if not (lengths > 0).all():
        raise BadFolder(f"{scan.path}: an axis has no direction; repair the header's sform or qform")
    of = {}
    for world, axis in sorted(numpy.ndindex(3, 3), key=lambda at: -abs(part[at]) / lengths[at[1]]):
        if axis not in of and world not in of.values():
            of[axis] = world
    stored = {world: axis for axis, world in of.items()}
    worlds = [next(index for index, pair in enumerate(WORLD) if code in pair) for code in codes]
    source = tuple(stored[world] for world in worlds)
    backwards = tuple(new for new, (axis, world) in enumerate(zip(source, worlds))
                      if (part[world, axis] < 0) != (codes[new] == WORLD[world][1]))
    return source, backwards


class Grid:
    """Between a scan's own grid and the network's axes `[D, H, W]`."""

    def __init__(self, scan, steps, planar):
        self.source, self.backwards = turn(scan, steps.get("orientation"))
        self.oriented = [scan.values.shape[axis] for axis in self.source]
        self.size = self.oriented
        if steps.get("spacing"):
            if scan.spacing is None:
                raise BadFolder(f"{scan.path}: pictures have no spacing, and the network wants {steps['spacing']} mm")
            self.size = [max(1, math.floor(extent * scan.spacing[axis] / wanted + 0.5))
                         for extent, axis, wanted in zip(self.oriented, self.source, steps["spacing"])]
        self.order = (2, 0, 1) if planar and steps["axes"] == "xyz" else (0, 1, 2)
        self.shape = tuple(self.size[axis] for axis in self.order)

    def turned(self, values):
        return numpy.flip(values.transpose(self.source), self.backwards)

    def image(self, values):
        """Linear between voxels."""
        volume = self.turned(values).astype(numpy.float32)
        # What shrinks goes first, and z before x where all is equal: the order in which `imaging` rounds.
        for axis in sorted(range(3), key=lambda axis: (self.size[axis] / self.oriented[axis], -axis)):
            volume = linear(volume, axis, self.size[axis])
        return volume.transpose(self.order)

    def labels(self, values):
        return nearest(self.turned(values), self.size).transpose(self.order)

    def back(self, labels):
        """Labels `[D, H, W]` on the scan's own grid."""
        volume = nearest(labels.transpose(numpy.argsort(self.order)), self.oriented)
        return numpy.flip(volume, self.backwards).transpose(numpy.argsort(self.source))


def centres(new, old):
    """Where the voxels of an axis of `new` lie on one of `old`, over the same length."""
    return (numpy.arange(new) + 0.5) * old / new - 0.5


def linear(volume, axis, size):
    old = volume.shape[axis]
    if size == old:
        return volume
    at = centres(size, old).clip(0, old - 1)
    low = numpy.floor(at).astype(int)
    weight = (at - low).astype(numpy.float32).reshape([-1 if other == axis else 1 for other in range(3)])
    return (1 - weight) * volume.take(low, axis) + weight * volume.take((low + 1).clip(max=old - 1), axis)


def nearest(labels, shape):
    for axis, size in enumerate(shape):
        old = labels.shape[axis]
        if size != old:
            labels = labels.take(numpy.floor(centres(size, old) + 0.5).astype(int).clip(0, old - 1), axis)
    return labels


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


def spans(found, wanted, overlap):
    """One axis in patches that cover it evenly: where each begins, and from where to where its labels count."""
    if found <= wanted:
        return [(0, 0, found)]
    overlap = 0 if wanted == 1 else overlap
    count = -(-(found - overlap) // (wanted - overlap))
    starts = [k * (found - wanted) // (count - 1) for k in range(count)]
    borders = [0, *((before + after + wanted) // 2 for before, after in zip(starts, starts[1:])), found]
    return list(zip(starts, borders, borders[1:]))


def write_labels(path, labels, values, source):
    """On the grid of the scan in `source`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    stored = numpy.array(values, numpy.uint8)[labels]
    if is_nifti(path):
        import nibabel
        nibabel.save(nibabel.Nifti1Image(stored, nibabel.load(source).affine), path)
    elif path.suffix.lower() == ".png":
        from PIL import Image
        Image.fromarray(stored[0]).save(path)
    else:
        import tifffile
        tifffile.imwrite(path, stored if len(stored) > 1 else stored[0])
