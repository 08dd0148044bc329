"""Default fits of ordinary size to many families of data: the longest, and any failure.

At most 2,000 samples of at most 32 x 32 x 3. A filter is fitted to labels without noise and
to noisy ones (signal-to-noise ratio 10), a bank of four to noisy labels of four filters.
Times are CPU seconds, because they depend less on what else the machine does.

    python benchmarks/families.py [part of the names of families]
"""

import sys
import time
import warnings

import numpy as np
from scipy.ndimage import gaussian_filter, gaussian_filter1d
from sklearn.datasets import load_digits, load_sample_images
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits
from timing import print_environment

from skconvfilter import ConvFilterBankRegressor, ConvReLUFilterRegressor
from skconvfilter.datasets import make_filter_bank_regression, make_filter_regression

N_SAMPLES, SIDE, SNR = 2000, 32, 10
N_FEATURES = SIDE**2
GREY = {"input_shape": (SIDE, SIDE)}
COLOUR = {"input_shape": (SIDE, SIDE, 3)}
SIGNAL = {"input_shape": (N_FEATURES,)}
WINDOW = {"kernel_size": 5, **GREY}


def normal(rng, n_samples=N_SAMPLES, n_features=N_FEATURES):
    return rng.standard_normal((n_samples, n_features))


def smooth(rng, width):
    images = normal(rng).reshape(-1, SIDE, SIDE)
    return gaussian_filter(images, (0, width, width)).reshape(N_SAMPLES, -1)


def sparse(rng, share):
    return normal(rng) * (rng.random((N_SAMPLES, N_FEATURES)) < share)


def one_hot(rng):
    """One pixel of each image is 1."""
    return np.eye(N_FEATURES)[rng.integers(N_FEATURES, size=N_SAMPLES)]


def columns(rng, scales):
    """Pixels of a variance of their own."""
    return normal(rng) * scales


def photographs(rng, n_channels):
    images = [image / 255 for image in load_sample_images().images]
    crops = []
    for i in range(N_SAMPLES):
        image = images[i % len(images)]
        row, column = (rng.integers(size - SIDE) for size in image.shape[:2])
        crop = image[row : row + SIDE, column : column + SIDE]
        crops.append(crop if n_channels == 3 else crop.mean(axis=2))
    return np.array(crops).reshape(N_SAMPLES, -1)


def waves(rng):
    phase, frequency = rng.uniform(0, 2 * np.pi, (N_SAMPLES, 1)), rng.uniform(2, 60)
    return np.sin(phase + np.linspace(0, frequency * 2 * np.pi, N_FEATURES))


def mixed_rows(rng):
    """Correlated entries of rows without a window."""
    return normal(rng, n_features=50) @ normal(rng, 50, 50)


# Samples, and how they are cut into patches.
FAMILIES = {
    # Images and a window of 5 x 5.
    "normal": (normal, WINDOW),
    "uniform": (lambda rng: rng.random((N_SAMPLES, N_FEATURES)), WINDOW),
    "smooth, 1 pixel": (lambda rng: smooth(rng, 1), WINDOW),
    "smooth, 3 pixels": (lambda rng: smooth(rng, 3), WINDOW),
    "1 % not zero": (lambda rng: sparse(rng, 0.01), WINDOW),
    "0.1 % not zero": (lambda rng: sparse(rng, 0.001), WINDOW),
    "one-hot": (one_hot, WINDOW),
    "heavy tails, t(2)": (lambda rng: rng.standard_t(2, (N_SAMPLES, N_FEATURES)), WINDOW),
    "heavier, Cauchy": (lambda rng: rng.standard_cauchy((N_SAMPLES, N_FEATURES)), WINDOW),
    "binary": (lambda rng: 1.0 * (normal(rng) > 0), WINDOW),
    "counts": (lambda rng: 1.0 * rng.poisson(1, (N_SAMPLES, N_FEATURES)), WINDOW),
    "ties: -1, 0, 1": (lambda rng: np.sign(np.round(normal(rng))), WINDOW),
    "half constant": (
        lambda rng: columns(rng, np.arange(N_FEATURES) % SIDE < SIDE // 2),
        WINDOW,
    ),
    "scales 1e-3 to 1e3": (
        lambda rng: columns(rng, np.geomspace(1e-3, 1e3, N_FEATURES)),
        WINDOW,
    ),
    "offset 1e6": (lambda rng: normal(rng) + 1e6, WINDOW),
    "rank 1": (lambda rng: normal(rng, n_features=1) * normal(rng, 1), WINDOW),
    "constant images": (
        lambda rng: np.repeat(normal(rng, n_features=1), N_FEATURES, axis=1),
        WINDOW,
    ),
    "20 distinct": (lambda rng: np.repeat(normal(rng, 20), 100, axis=0), WINDOW),
    "20 samples": (lambda rng: normal(rng, 20), WINDOW),
    "float32": (lambda rng: normal(rng).astype(np.float32), WINDOW),
    "photographs, grey": (lambda rng: photographs(rng, 1), WINDOW),
    # Other windows.
    "window 2 x 2": (normal, {"kernel_size": 2, **GREY}),
    "window 3 x 3": (normal, {"kernel_size": 3, **GREY}),
    "window 7 x 7": (normal, {"kernel_size": 7, **GREY}),
    "window 9 x 9": (normal, {"kernel_size": 9, **GREY}),
    "not overlapping": (normal, {**WINDOW, "stride": 5}),
    "padding 2": (normal, {**WINDOW, "padding": 2}),
    "dilation 2": (normal, {**WINDOW, "dilation": 2}),
    "digits, 3 x 3": (
        lambda rng: load_digits().data,
        {"kernel_size": 3, "input_shape": (8, 8)},
    ),
    "5 x 5 x 3": (
        lambda rng: normal(rng, n_features=3 * N_FEATURES),
        {"kernel_size": 5, **COLOUR},
    ),
    "7 x 7 x 3": (
        lambda rng: normal(rng, n_features=3 * N_FEATURES),
        {"kernel_size": 7, **COLOUR},
    ),
    "photographs, 7 x 7 x 3": (
        lambda rng: photographs(rng, 3),
        {"kernel_size": 7, **COLOUR},
    ),
    # Signals, rows, patches.
    "signals, 16": (normal, {"kernel_size": 16, **SIGNAL}),
    "smooth signals, 64": (
        lambda rng: gaussian_filter1d(normal(rng), 3),
        {"kernel_size": 64, **SIGNAL},
    ),
    "random walks, 32": (
        lambda rng: np.cumsum(normal(rng), axis=1),
        {"kernel_size": 32, **SIGNAL},
    ),
    "one frequency, 32": (waves, {"kernel_size": 32, **SIGNAL}),
    "rows of 10": (lambda rng: normal(rng, n_features=10), {}),
    "correlated rows of 50": (mixed_rows, {}),
    "9 patches of 25": (
        lambda rng: normal(rng, n_features=225).reshape(-1, 9, 25),
        {},
    ),
}


def timed(model, X, y):
    """CPU seconds, loss over the variance of y, and what went wrong."""
    start = time.process_time()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            model.fit(X, y)
        except Exception as error:
            return time.process_time() - start, np.nan, [repr(error)]
    seconds = time.process_time() - start
    notes = [
        "not converged" if isinstance(w.message, ConvergenceWarning) else str(w.message)
        for w in caught
    ]
    return seconds, 2 * model.loss_ / (np.var(y) or 1.0), notes


def measure(make, window):
    """The three fits to one family: what `timed` gives of each."""
    X = make(np.random.default_rng(0))
    model = ConvReLUFilterRegressor(**window, random_state=0)
    bank = ConvFilterBankRegressor(4, **window, random_state=0)
    data = {"X": X, "random_state": 0}
    return [
        timed(model, *make_filter_regression(None, model, **data)),
        timed(model, *make_filter_regression(None, model, snr=SNR, **data)),
        timed(bank, *make_filter_bank_regression(None, bank, snr=SNR, **data)),
    ]


def main(part=""):
    threadpool_limits(1)
    print_environment()
    print("CPU s of a default fit, and its loss over the variance of the labels")
    print(f"{'family':24s}   one filter     noisy labels   bank of 4, noisy")
    seconds = {}
    for name, (make, window) in FAMILIES.items():
        if part not in name:
            continue
        fits = measure(make, window)
        seconds[name] = max(fit[0] for fit in fits)
        cells = "".join(f"{fit[0]:5.1f}  {fit[1]:6.0e}  " for fit in fits)
        notes = "; ".join(sorted({note for fit in fits for note in fit[2]}))
        print(f"{name:24s} {cells} {notes[:200]}", flush=True)
    worst = max(seconds, key=seconds.get)
    print(f"{len(seconds)} families; the longest fit: {seconds[worst]:.2f} s, {worst}")


if __name__ == "__main__":
    main(*sys.argv[1:])
