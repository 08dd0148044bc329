"""Regression tasks on real images and signals, made of data that other packages ship.

:func:`make_task` gives samples, targets and splits. MNIST comes through
``skconvfilter.datasets.load_mnist``; photographs and textures through scikit-image, whose
readers need PyWavelets. Only the chromatograms and the noise are simulated.
"""

from collections import namedtuple
from pathlib import Path

import numpy as np
import skimage
from scipy import ndimage as ndi
from skimage import color, io
from sklearn.datasets import load_digits, load_sample_images
from sklearn.model_selection import GroupShuffleSplit, ShuffleSplit

from skconvfilter.datasets import load_mnist

# X: flat float32 rows; window: parameters of the convolution; splits: pairs of indices.
Task = namedtuple("Task", "X y window splits")

PHOTOGRAPHS = [
    "astronaut", "camera", "chelsea", "coffee", "rocket", "moon", "coins", "retina",
    "hubble_deep_field", "ihc", "motorcycle_left",
]  # fmt: skip
TEXTURES = ["brick", "grass", "gravel"]
N_SPLITS = 3


def make_task(name):
    """One of ``TASKS`` by its name."""
    return TASKS[name]()


def thickness():
    """Mean width of the stroke of a digit, from the distance transform.

    The window is the best of a cross-validation over sizes 3 and 5, strides 1 and 2.
    """

    def measure(image):
        depth = ndi.distance_transform_edt(np.pad(image > 0.5, 1))
        return 4 * depth[depth > 0].mean() - 2

    return _of_mnist(measure, kernel_size=3, stride=1)


def slant():
    """Shear of a digit, from its second moments: a matter of positions."""

    def measure(image):
        r, c = np.indices(image.shape)
        r, c = r - np.average(r, weights=image), c - np.average(c, weights=image)
        return -np.sum(image * r * c) / np.sum(image * r**2)

    return _of_mnist(measure)


def holes():
    """Number of holes of a digit."""

    def measure(image):
        return ndi.label(np.pad(image < 0.4, 1, constant_values=True))[1] - 1

    return _of_mnist(measure)


def digits():
    """The digit as a number: a matter of positions."""
    X, y = load_digits(return_X_y=True)
    window = {"kernel_size": 3, "input_shape": (8, 8), "stride": 1}
    return Task(np.float32(X / 16), y.astype(float), window, _splits(1797, 1197, 600))


def noise():
    """Standard deviation of the noise in a crop of a photograph; splits by photograph."""
    rng = np.random.default_rng(0)
    pictures = _pictures(PHOTOGRAPHS)
    for name, picture in zip(("china", "flower"), load_sample_images().images, strict=True):
        pictures[name] = (picture @ [0.299, 0.587, 0.114] / 255).astype(np.float32)
    names = sorted(pictures)
    halved = {
        name: ndi.zoom(ndi.gaussian_filter(picture, 1.0), 0.5, order=1)
        for name, picture in pictures.items()
    }
    X, y, groups = [], [], []
    while len(X) < 3000:
        name = names[rng.integers(len(names))]
        r, c = (rng.integers(n - 16) for n in halved[name].shape)
        crop = halved[name][r : r + 16, c : c + 16]
        if crop.std() < 0.03:
            continue
        y.append(rng.uniform(0, 0.2))
        X.append((crop + y[-1] * rng.standard_normal(crop.shape)).ravel())
        groups.append(names.index(name))
    X = np.float32(np.round(np.clip(X, 0, 1) * 255) / 255)
    split = GroupShuffleSplit(N_SPLITS, test_size=0.3, random_state=0)
    window = {"kernel_size": 3, "input_shape": (16, 16), "stride": 1}
    return Task(X, np.array(y), window, list(split.split(X, y, groups)))


def texture():
    """log2 of the zoom of a crop of a texture; training and test halves of the pictures."""
    rng = np.random.default_rng(2)
    pictures = _pictures(TEXTURES)
    X, y, half = [], [], []
    for _ in range(3000):
        picture = pictures[TEXTURES[rng.integers(len(TEXTURES))]]
        half.append(rng.integers(4))
        part = (picture[:256], picture[256:], picture[:, :256], picture[:, 256:])[half[-1]]
        zoom = np.exp(rng.uniform(0, np.log(4)))
        size = int(24 * zoom) + 3
        r, c = (rng.integers(n - size) for n in part.shape)
        blurred = ndi.gaussian_filter(part[r : r + size, c : c + size], 0.4 * zoom)
        grid = np.arange(24) * zoom + 1
        crop = ndi.map_coordinates(blurred, np.meshgrid(grid, grid, indexing="ij"), order=1)
        X.append(crop.ravel())
        y.append(np.log2(zoom))
    half = np.array(half)
    splits = [
        (np.flatnonzero(half == train), np.flatnonzero(half == test))
        for train, test in ((0, 1), (1, 0), (2, 3))
    ]
    window = {"kernel_size": 5, "input_shape": (24, 24), "stride": 2}
    return Task(np.float32(X), np.array(y), window, splits)


def chromatogram():
    """Simulated: area of a narrow peak among broad ones, with a baseline and noise."""
    rng = np.random.default_rng(5)
    t = np.arange(200.0)

    def peak(area, middle, width):
        return area * np.exp(-0.5 * ((t - middle) / width) ** 2) / (width * 2.5066)

    X, y = [], []
    for _ in range(3000):
        y.append(rng.uniform(0, 10))
        x = peak(y[-1], rng.uniform(40, 160), rng.uniform(2.2, 2.8))
        for _ in range(rng.integers(2, 6)):
            width = rng.uniform(5, 9)
            x += peak(rng.uniform(2, 15), rng.uniform(0, 200), width)
        x += rng.uniform(0, 0.5) + rng.uniform(-0.5, 0.5) * t / 200
        X.append(x + 0.03 * rng.standard_normal(200))
    window = {"kernel_size": 15, "input_shape": (200,), "stride": 1}
    return Task(np.float32(X), np.array(y), window, _splits(3000))


TASKS = {
    task.__name__: task
    for task in (thickness, slant, holes, digits, noise, texture, chromatogram)
}


def _of_mnist(measure, kernel_size=5, stride=2):
    images = load_mnist(dtype=np.float32)[0]
    images = images[np.random.RandomState(0).permutation(len(images))[:3000]]
    y = np.array([measure(image.reshape(28, 28)) for image in images], dtype=float)
    window = {"kernel_size": kernel_size, "input_shape": (28, 28), "stride": stride}
    return Task(images, y, window, _splits(3000))


def _splits(n_samples, n_train=1500, n_test=1000):
    split = ShuffleSplit(N_SPLITS, train_size=n_train, test_size=n_test, random_state=0)
    return list(split.split(np.arange(n_samples)))


def _pictures(names):
    """Grey pictures in 0 to 1 by name."""
    folder = Path(skimage.__file__).parent / "data"
    found = {}
    for name in names:
        picture = io.imread(next(folder.glob(f"{name}.*")))
        grey = color.rgb2gray(picture[..., :3]) if picture.ndim == 3 else picture / 255
        found[name] = grey.astype(np.float32)
    return found
