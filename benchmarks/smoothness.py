"""The estimates of gamma, L, disagreement and cross terms against closed forms, and more.

Prints its tables in Markdown:

    python benchmarks/smoothness.py accuracy   # estimates against what is exact
    python benchmarks/smoothness.py ball       # good starts: drawn, exact, bound
    python benchmarks/smoothness.py profile    # seconds of a profile of MNIST

All need a checkout, as what is exact is in the tests. `profile` needs the MNIST test set,
see ``skconvfilter.datasets.load_mnist``.
"""

import argparse
import platform
import statistics
import sys
import time
import warnings
from collections import namedtuple
from importlib.metadata import version
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from skconvfilter import ConvPatchExtractor
from skconvfilter.datasets import load_mnist, make_angular_patches, random_filter
from skconvfilter.diagnostics import (
    ball_success_bound,
    ball_success_probability,
    restarts_needed,
    smoothness,
)
from skconvfilter.initializers.random_starts import theory_radius
from skconvfilter.kernels.dispatch import kernel

# The closed forms that the tests of the package compare with too.
sys.path.append(str(Path(__file__).resolve().parents[1] / "tests" / "diagnostics"))
import oracles

# `exact` and `attained` by quantity: arrays of shape (n_angles,). The latter is what the
# filter that is extreme in the population reaches on these samples.
Task = namedtuple("Task", "X teacher exact attained")
# Of one quantity, relative to what is exact: arrays of shape (n_seeds, n_angles).
Deviations = namedtuple("Deviations", "value searched attained half_width covered")

QUANTITIES = list(oracles.QUANTITIES)
ANGLES = np.array([np.pi / 8, np.pi / 4, 3 * np.pi / 8, np.pi / 2])
ANGLE_NAMES = ["pi/8", "pi/4", "3 pi/8", "pi/2"]
PATCH_DIMS = [9, 25, 49]
FIRST_SEED = 70_000
TOLERANCE, SHORT = 0.05, 0.01

BALL_DIMS = [2, 9, 25, 81]
N_DRAWS, DRAWS_AT_ONCE = 1_000_000, 50_000

WINDOW = {"kernel_size": 5, "input_shape": (28, 28), "stride": 2}
N_RUNS = 3


def isotropic(n_samples, patch_dim, rng, n_patches=1, n_copies=1, sphere=False):
    """Independent patches from N(0, I) or the unit sphere, or copies of one patch."""
    X = rng.standard_normal((n_samples, n_patches, patch_dim))
    if sphere:
        X /= np.linalg.norm(X, axis=2, keepdims=True)
    dim = patch_dim if sphere else None
    exact = {name: getattr(oracles, name)(ANGLES, n_patches, dim) for name in QUANTITIES}
    # All filters at an angle are as extreme.
    return Task(np.repeat(X, n_copies, axis=1), rng.standard_normal(patch_dim), exact, {})


def power_law(n_samples, patch_dim, rng, n_patches):
    """Patches whose principal components have the standard deviations j^(-1/2)."""
    rotation = np.linalg.qr(rng.standard_normal((patch_dim, patch_dim)))[0]
    root = rotation * np.arange(1, patch_dim + 1) ** -0.5 @ rotation.T
    X = rng.standard_normal((n_samples, n_patches, patch_dim)) @ root
    teacher = rng.standard_normal(patch_dim)
    exact = {name: np.zeros(len(ANGLES)) for name in QUANTITIES}
    attained = {name: np.zeros(len(ANGLES)) for name in QUANTITIES}
    # The cross terms of one patch are zero.
    for name in QUANTITIES if n_patches > 1 else QUANTITIES[:3]:
        for i, phi in enumerate(ANGLES):
            exact[name][i], w = oracles.hardest_filter(
                name, phi, teacher, n_patches, root=root
            )
            moments = oracles.sample_moments(X, w, teacher)
            attained[name][i] = moments.quantity(name)
    return Task(X, teacher, exact, attained)


def section_4(n_samples, patch_dim, rng, sigma):
    """One unit patch near the teacher or its opposite, in the plane."""
    X, _, teacher = make_angular_patches(
        n_samples,
        patch_dim,
        sigma=sigma,
        return_teacher=True,
        random_state=rng.integers(2**31),
    )
    moments = [oracles.section_4_moments(phi, sigma) for phi in ANGLES]
    exact = {
        name: np.array([moment.quantity(name) for moment in moments]) for name in QUANTITIES
    }
    return Task(X, teacher, exact, {})


# What makes the data, its parameters, and the lengths of patches.
SOURCES = {
    "N(0, I), k = 1": (isotropic, {}, PATCH_DIMS),
    "N(0, I), k = 4": (isotropic, {"n_patches": 4}, PATCH_DIMS),
    "N(0, I), 4 copies": (isotropic, {"n_copies": 4}, PATCH_DIMS),
    "unit sphere, k = 1": (isotropic, {"sphere": True}, PATCH_DIMS),
    "unit sphere, k = 4": (isotropic, {"sphere": True, "n_patches": 4}, PATCH_DIMS),
    "power law, k = 1": (power_law, {"n_patches": 1}, PATCH_DIMS),
    "power law, k = 4": (power_law, {"n_patches": 4}, PATCH_DIMS),
    "section 4, sigma = 0.6": (section_4, {"sigma": 0.6}, [2]),
    "section 4, sigma = 1": (section_4, {"sigma": 1.0}, [2]),
}


def estimate(make, parameters, n_samples, patch_dim, seed):
    """Deviations by quantity at all angles, for data and a teacher of one seed."""
    task = make(n_samples, patch_dim, np.random.default_rng(seed), **parameters)
    # That few patches lie in a narrow wedge shows as NaN.
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "At the angles", UserWarning)
        result = smoothness(
            task.X, task.teacher, ANGLES, max_samples=n_samples, random_state=seed
        )
    return {name: deviations(result, name, task) for name in QUANTITIES}


def deviations(result, name, task):
    """What an estimate is off by. Where zero is exact it has to be zero, too."""
    exact = task.exact[name]
    attained = task.attained.get(name, np.full(len(ANGLES), np.nan))
    estimate = getattr(result, name)
    value, searched = estimate.value, estimate.searched
    low, high = estimate.interval.T
    if not exact.any():
        np.testing.assert_allclose(value[np.isfinite(value)], 0, atol=1e-12)
        return None
    covered = (low <= exact) & (exact <= high)
    half_width = (high - low) / 2 / exact
    relative = (column / exact - 1 for column in (value, searched, attained))
    return Deviations(*relative, half_width, covered)


def print_accuracy(n_seeds, n_samples, names):
    """Deviations from what is exact, then what explains those beyond the tolerance."""
    print(f"seeds: {n_seeds}, n = {n_samples:,}, angles {', '.join(ANGLE_NAMES)}\n")
    print(f"| data | p | {' | '.join(QUANTITIES)} |")
    print(f"| --- | ---: |{' ---: |' * len(QUANTITIES)}")
    found = {}
    for data in names:
        make, parameters, patch_dims = SOURCES[data]
        for patch_dim in patch_dims:
            rows = [
                estimate(make, parameters, n_samples, patch_dim, FIRST_SEED + i)
                for i in range(n_seeds)
            ]
            for name in QUANTITIES:
                own = [row[name] for row in rows if row[name] is not None]
                if own:
                    stacked = Deviations(*map(np.array, zip(*own, strict=True)))
                    found[data, patch_dim, name] = stacked
            cells = [_cell(found.get((data, patch_dim, name))) for name in QUANTITIES]
            print(f"| {data} | {patch_dim} | {' | '.join(cells)} |", flush=True)
    print()
    print_tally(found)
    print()
    print_misses(found)


def print_tally(found):
    """By quantity and angle, how many values are within the tolerance and the interval."""
    print("| |" + "".join(f" {name} |" for name in ANGLE_NAMES) + " all in interval |")
    print("| --- |" + " ---: |" * (len(ANGLES) + 1))
    for name in QUANTITIES:
        own = [table for key, table in found.items() if key[2] == name]
        if not own:
            continue
        value = np.concatenate([table.value for table in own])
        covered = np.concatenate([table.covered for table in own])
        known = np.isfinite(value)
        good = np.abs(value) <= TOLERANCE
        shares = [f"{good[:, i].sum()}/{known[:, i].sum()}" for i in range(len(ANGLES))]
        print(f"| {name} | {' | '.join(shares)} | {covered[known].mean():.0%} |")


def print_misses(found):
    """What is beyond the tolerance, by cause.

    `noise`: the interval holds what is exact, or the value is too extreme, which only
    chance can make it. `search`: the filters found are less extreme, on the samples they
    were found on and by more than 1 %, than the one that is extreme in the population.
    `vectors`: the others; filters and vectors suit the half that was searched too well.
    """
    print("| data | p | quantity | beyond 5 % | noise | vectors | search | worst |")
    print("| --- | ---: | --- | ---: | ---: | ---: | ---: | --- |")
    for (data, patch_dim, name), table in found.items():
        # Positive: more extreme than what is exact.
        sign = -1 if name == "gamma" else 1
        missed = np.abs(table.value) > TOLERANCE
        if not missed.any():
            continue
        noise = missed & (table.covered | (sign * table.value > 0))
        search = missed & ~noise & (sign * (table.attained - table.searched) > SHORT)
        vectors = missed & ~noise & ~search
        counts = [part.sum() for part in (noise, vectors, search)]
        worst = np.unravel_index(np.nanargmax(np.abs(table.value)), missed.shape)
        value, searched, half_width = (
            100 * column[worst]
            for column in (table.value, table.searched, table.half_width)
        )
        print(
            f"| {data} | {patch_dim} | {name} "
            f"| {missed.sum()}/{np.isfinite(table.value).sum()} "
            f"| {' | '.join(map(str, counts))} | {value:+.1f} ± {half_width:.1f}, searched "
            f"{searched:+.1f}, at {ANGLE_NAMES[worst[1]]} |"
        )


def _cell(table):
    """Median and largest deviation, and half the width of the interval, in per cent."""
    if table is None:
        return ""
    size = 100 * np.abs(table.value)
    half_width = 100 * np.nanmedian(table.half_width)
    return f"{np.nanmedian(size):.1f}, {np.nanmax(size):.1f} (± {half_width:.1f})"


def print_ball():
    """How likely a start from the theory's ball is good, and the starts it takes."""
    print(f"{N_DRAWS:,} draws\n")
    print("| p | alpha | drawn | exact | paper's bound | starts | by the bound |")
    print("| ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for patch_dim in BALL_DIMS:
        radii = theory_radius(patch_dim) * np.array([1, 0.5])
        shares = success_shares(patch_dim, radii, np.random.default_rng(0))
        for alpha, share in zip(radii, shares, strict=True):
            exact = ball_success_probability(patch_dim, alpha)
            # Zero at the largest radius, but for rounding.
            bound = max(0.0, round(ball_success_bound(patch_dim, alpha), 12))
            error = np.sqrt(share * (1 - share) / N_DRAWS)
            print(
                f"| {patch_dim} | {alpha:.4f} | {share:.4f} ± {error:.4f} | {exact:.4f} "
                f"| {bound:.4f} | {restarts_needed(exact)} "
                f"| {restarts_needed(bound) if bound else 'no number'} |"
            )


def success_shares(patch_dim, radii, rng):
    """Share of draws from balls of these radii that are as near the teacher as asked."""
    teacher = random_filter(patch_dim, random_state=0)
    teacher = teacher / np.linalg.norm(teacher)
    counts = np.zeros(len(radii))
    for _ in range(N_DRAWS // DRAWS_AT_ONCE):
        starts = rng.standard_normal((DRAWS_AT_ONCE, patch_dim))
        starts /= np.linalg.norm(starts, axis=1, keepdims=True)
        starts *= rng.uniform(size=(DRAWS_AT_ONCE, 1)) ** (1 / patch_dim)
        for i, alpha in enumerate(radii):
            distance = np.linalg.norm(alpha * starts - teacher, axis=1)
            counts[i] += (distance <= np.sqrt(1 - alpha**2)).sum()
    return counts / N_DRAWS


def print_profile():
    """Seconds for all quantities at nine angles, of 5x5 patches at stride 2."""
    images, _ = load_mnist()
    print("| samples looked at | seconds | CPU seconds | of the runs |")
    print("| ---: | ---: | ---: | --- |")
    for max_samples in (None, len(images)):
        runs = [profile(images, max_samples, seed) for seed in range(N_RUNS)]
        result = runs[0][0]
        wall, cpu = ([run[i] for run in runs] for i in (1, 2))
        print(
            f"| {result.n_samples:,}{' (default)' if max_samples is None else ''} "
            f"| {statistics.median(wall):.1f} | {statistics.median(cpu):.1f} "
            f"| {', '.join(f'{seconds:.1f}' for seconds in wall)} |",
            flush=True,
        )


def profile(images, max_samples, seed):
    """The estimates for a random teacher, seconds, and those of the processor."""
    teacher = random_filter((5, 5), random_state=seed)
    start, start_cpu = time.perf_counter(), time.process_time()
    # How few patches lie in narrow wedges is no matter here.
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "At the angles", UserWarning)
        result = smoothness(
            images,
            teacher,
            estimator=ConvPatchExtractor(**WINDOW),
            max_samples=max_samples,
            random_state=seed,
        )
    return result, time.perf_counter() - start, time.process_time() - start_cpu


def print_environment():
    """Versions, for the head of the tables."""
    packages = ["skconvfilter", "numpy", "scipy", "scikit-learn"]
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    print(f"Python {platform.python_version()}, {versions}; kernel {kernel.name}\n")


def main():
    """Print the table of one mode."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    modes = parser.add_subparsers(dest="mode", required=True)
    accuracy = modes.add_parser("accuracy", help="estimates against what is exact")
    accuracy.add_argument("--seeds", type=int, default=5)
    accuracy.add_argument("--samples", type=int, default=20_000)
    accuracy.add_argument(
        "--data", nargs="+", choices=SOURCES, default=list(SOURCES), metavar="DATA"
    )
    modes.add_parser("ball", help="probability that a random start is good")
    modes.add_parser("profile", help="seconds of a profile of MNIST")
    arguments = parser.parse_args()
    print_environment()
    with threadpool_limits(1):
        if arguments.mode == "accuracy":
            print_accuracy(arguments.seeds, arguments.samples, arguments.data)
        elif arguments.mode == "ball":
            print_ball()
        else:
            print_profile()


if __name__ == "__main__":
    main()
