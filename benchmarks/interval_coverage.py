"""How often the intervals of skconvfilter.diagnostics.inference hold the true weights.

Every fit has another true filter, other samples and other noise (SNR 10). The noise is
equal for all samples, grows with the clean label ("unequal"), or is half a gain that groups
of ten samples share ("groups"), and the covariance is the one that fits it. A fit is far
from the truth if the joint test of all true parameters has a p value below 1e-3. Filters
without a negative entry, and those that answer to next to nothing, are left out, as in
benchmarks/recovery.py.

    python benchmarks/interval_coverage.py               # coverage, 500 fits a cell: hours
    python benchmarks/interval_coverage.py --seconds 40  # at most 40 s a cell
    python benchmarks/interval_coverage.py wald          # level and power of Wald tests

Needs the MNIST test set, see ``skconvfilter.datasets.load_mnist``.
"""

import argparse
import time
import warnings
from collections import namedtuple

import numpy as np
import recovery
from scipy.stats import f as f_distribution
from scipy.stats import ncf
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits

from skconvfilter import ConvFilterBankRegressor, ConvReLUFilterRegressor
from skconvfilter.datasets import (
    make_filter_bank_regression,
    make_filter_regression,
    random_filter,
)
from skconvfilter.diagnostics import inference
from skconvfilter.diagnostics import recovery as compare

Cell = namedtuple("Cell", "source n_samples noise")
Truth = namedtuple("Truth", "teacher signs")
Row = namedtuple("Row", "covered covered_hc3 doubted far fit_seconds seconds")

SNR, GROUP_SIZE, LEVEL, FAR = 10, 10, 0.95, 1e-3
FIRST_SEED = 120_000
# Side of the images, window and stride.
IMAGES = {"mnist": (28, 5, 2), "digits": (8, 3, 1), "crops": (28, 5, 2)}
# Length of independent normal patches, four in a sample.
GAUSSIAN = {"normal 9": 9, "normal 25": 25}
SOURCES = [*IMAGES, *GAUSSIAN, "bank"]
COVARIANCES = {"equal": "classical", "unequal": "HC3", "groups": "cluster"}
SIZES = (300, 1000, 5000)


def cells():
    """All sizes with equal noise, and the other kinds of noise for 1,000 samples."""
    for source in SOURCES:
        for n_samples in SIZES:
            yield Cell(source, n_samples, "equal")
        for noise in ("unequal", "groups"):
            yield Cell(source, 1000, noise)


def make_task(cell, images, rng):
    """Samples, clean labels, an estimator, and the true parameters."""
    seed = int(rng.integers(2**31))
    if cell.source == "bank":
        model = ConvFilterBankRegressor(
            3, kernel_size=8, stride=8, input_shape=(32,), pooling="mean", n_init=10,
            output_weights="signs", init="random", bias=True, diagnostics=False,
            random_state=seed,
        )  # fmt: skip
        X = rng.standard_normal((cell.n_samples, 32))
        _, clean, teacher, signs = make_filter_bank_regression(
            X=X, estimator=model, output_weights="signs", return_teacher=True,
            random_state=seed,
        )  # fmt: skip
        return X, clean, model, Truth(teacher.reshape(3, -1), signs)
    options = {"diagnostics": False, "random_state": seed}
    if cell.source in GAUSSIAN:
        p = GAUSSIAN[cell.source]
        model = ConvReLUFilterRegressor(
            p, stride=p, input_shape=(4 * p,), bias=True, **options
        )
        X = rng.standard_normal((cell.n_samples, 4 * p))
    else:
        side, size, stride = IMAGES[cell.source]
        model = ConvReLUFilterRegressor(
            size, input_shape=(side, side), stride=stride, bias=False, **options
        )
        source = images[cell.source]
        replace = cell.n_samples > len(source)
        X = source[rng.choice(len(source), cell.n_samples, replace=replace)]
        p = size**2
    teacher = random_filter((p,), random_state=seed)
    _, clean = make_filter_regression(X=X, estimator=model, teacher=teacher)
    return X, clean, model, Truth(teacher, None)


def add_noise(clean, kind, rng):
    """Labels and groups."""
    n = len(clean)
    groups = np.arange(n) // GROUP_SIZE
    sigma = clean.std() / np.sqrt(SNR)
    noise = rng.standard_normal(n)
    if kind == "unequal":
        noise *= np.abs(clean) / np.sqrt(np.mean(clean**2))
    if kind == "groups":
        gains = rng.standard_normal(n)[groups] * (clean - clean.mean()) / clean.std()
        noise = (noise + gains) / np.sqrt(2)
    return clean + sigma * noise, groups


def true_params(result, model, truth):
    """The true parameters in the order of the result; None if output signs differ."""
    teacher, signs = truth
    bias = [0.0] * int(np.prod(result.coef.shape[: teacher.ndim - 1])) if model.bias else []
    if signs is None:
        if model.sign_ != 1:
            return None
        return np.concatenate([teacher, bias, [0.0]])
    order = np.argsort(compare(model, teacher, teacher_output_weights=signs).permutation)
    if not np.array_equal(signs[order], model.output_weights_):
        return None
    return np.concatenate([teacher[order].ravel(), bias, [0.0]])


def measure(cell, images, seed):
    """One fit; None if the labels hardly depend on the filter."""
    rng = np.random.default_rng(seed)
    X, clean, model, truth = make_task(cell, images, rng)
    if cell.source in IMAGES and ((truth.teacher >= 0).all() or clean.mean() < 1e-3):
        return None
    y, groups = add_noise(clean, cell.noise, rng)
    start = time.perf_counter()
    model.fit(X, y)
    fit_seconds = time.perf_counter() - start
    start = time.perf_counter()
    result = inference(
        model, X, y, covariance=COVARIANCES[cell.noise], groups=groups, level=LEVEL,
        random_state=seed,
    )  # fmt: skip
    seconds = time.perf_counter() - start
    true = true_params(result, model, truth)
    doubted = bool(result.identifiability.doubts)
    if true is None:
        return Row(0.0, 0.0, doubted, True, fit_seconds, seconds)
    n_weights = result.coef.size

    def covered(one):
        low, high = one.conf_int().T
        return np.mean(((low <= true) & (true <= high))[:n_weights])

    hc3 = result
    if cell.noise != "unequal":
        hc3 = inference(model, X, y, level=LEVEL, random_state=seed)
    far = joint_pvalue(result, true) < FAR
    return Row(covered(result), covered(hc3), doubted, far, fit_seconds, seconds)


def joint_pvalue(result, true):
    """Of the true parameters; as Hotelling's, since few groups give a poor covariance."""
    seen = np.isfinite(result.bse)
    try:
        test = result.wald_test(np.eye(len(true))[seen], true[seen])
    except ValueError:
        # The variance of a direction that one sample determines exceeds all others so much
        # that these are rounded away: there is no test, and the fit is not called far.
        return 1.0
    p, df = test.df_num, test.df_denom
    if df <= p:
        return 1.0
    return f_distribution.sf(test.statistic * (df - p + 1) / df, p, df - p + 1)


def report(cell, rows):
    """One line of the table."""
    columns = (np.array(column) for column in zip(*rows, strict=True))
    covered, hc3, doubted, far, fit_seconds, seconds = columns
    doubted, far = doubted.astype(bool), far.astype(bool)
    near = np.count_nonzero(~far)

    def share(values):
        return f"{np.mean(values):5.2f}" if len(values) else "    -"

    false_alarms = np.count_nonzero(doubted & ~far)
    print(
        f"{cell.source:9s} {cell.n_samples:5d} {cell.noise:8s} {len(rows):4d}"
        f"  {share(covered[~doubted]):>9s} {share(hc3[~doubted]):>5s} {share(covered):>5s}"
        f"  {np.count_nonzero(doubted):7d} {np.count_nonzero(doubted & far):4d}"
        f" {false_alarms:4d}/{near:<4d} {np.count_nonzero(far & ~doubted):6d}"
        f"  {np.sum(seconds) / np.sum(fit_seconds):6.2f}",
        flush=True,
    )


def coverage(arguments):
    """The table of coverage."""
    print("coverage of 95 % intervals; doubted fits, how many are far, false alarms")
    print(
        "data          n noise    fits  undoubted   HC3   all  doubted  far  false    "
        "missed    cost"
    )
    images = recovery.load_images()
    for cell in cells():
        if arguments.source not in (None, cell.source):
            continue
        rows, seed, end = [], FIRST_SEED, time.perf_counter() + arguments.seconds
        while len(rows) < arguments.fits and time.perf_counter() < end:
            row = measure(cell, images, seed)
            rows += [] if row is None else [row]
            seed += 1
        report(cell, rows)


def wald(arguments):
    """Level and power of the test that three weights are 0."""
    print("share of Wald tests of three weights with p < 0.05, n = 1,000, undoubted fits;")
    print("'expected' is the power for the standard errors of a first fit")
    for source in GAUSSIAN:
        unit = measure_wald(source, FIRST_SEED, 0.0)[1]
        for size in (0.0, 0.5, 1.0, 1.5, 2.0):
            pvalues, start = [], time.perf_counter()
            for i in range(arguments.fits):
                pvalue = measure_wald(source, FIRST_SEED + i, size * unit)[0]
                pvalues += [] if pvalue is None else [pvalue]
                if time.perf_counter() - start > arguments.seconds:
                    break
            df = 3, 1000 - GAUSSIAN[source] - 2
            critical = f_distribution.isf(0.05, *df)
            expected = ncf.sf(critical, *df, 3 * size**2) if size else 0.05
            rejected = np.mean(np.array(pvalues) < 0.05)
            print(
                f"{source:9s} weights of {size:.1f} standard errors: {len(pvalues):4d} "
                f"fits, rejected {rejected:.2f}, expected {expected:.2f}",
                flush=True,
            )


def measure_wald(source, seed, size):
    """P value for three weights of that size, and their mean standard error."""
    rng = np.random.default_rng(seed)
    X, _, model, truth = make_task(Cell(source, 1000, "equal"), {}, rng)
    teacher = truth.teacher
    teacher[:3] = size * rng.choice([-1, 1], 3)
    _, clean = make_filter_regression(X=X, estimator=model, teacher=teacher)
    y, _ = add_noise(clean, "equal", rng)
    result = inference(model.fit(X, y), X, y, random_state=seed)
    doubted = bool(result.identifiability.doubts)
    test = result.wald_test(np.arange(teacher.size) < 3)
    return None if doubted else test.pvalue, result.stderr[:3].mean()


def main():
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    modes = {"coverage": coverage, "wald": wald}
    parser.add_argument("mode", nargs="?", choices=modes, default="coverage")
    parser.add_argument("--fits", type=int, default=500, help="in every cell")
    parser.add_argument("--seconds", type=float, default=np.inf, help="in every cell")
    parser.add_argument("--source", choices=SOURCES, help="only these data")
    arguments = parser.parse_args()
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        modes[arguments.mode](arguments)


if __name__ == "__main__":
    main()
