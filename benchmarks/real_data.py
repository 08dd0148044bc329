"""R2, CPU seconds and sizes of models on real images and signals, against other regressors.

The tasks are those of ``real_tasks.py``. Banks of filters predict by themselves, and by
ridge regression and kernel ridge regression on their responses, pooled over all positions
or a grid (``ConvFeatureExtractor``). The others are ridge and kernel ridge regression on
pixels, a network of one hidden layer, boosted trees, a forest, and ridge regression on
features of random convolutions: those of this script, and those of MiniRocket, which reads
an image as one long signal. One thread, CPU seconds of a fit.

PyTorch fits the model of the first bank by Adam, in runs of 100 epochs with rates that
fall to zero, from one start and rate after the other until it has used ``--torch`` times
the seconds of the bank. What is compared is the training loss, over the variance of y,
also with that of a bank from a single start.

    python benchmarks/real_data.py
    python benchmarks/real_data.py --tasks slant digits --splits 1 --filters 4 --torch 0

Needs the extra ``bench`` and MNIST, see ``skconvfilter.datasets.load_mnist``.
"""

import argparse
import time
import warnings
from collections import defaultdict
from itertools import cycle

import numpy as np
import torch
from aeon.transformations.collection.convolution_based import MiniRocket
from real_tasks import TASKS, make_task
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import ExtraTreesRegressor, HistGradientBoostingRegressor
from sklearn.frozen import FrozenEstimator
from sklearn.kernel_approximation import Nystroem
from sklearn.linear_model import RidgeCV
from sklearn.metrics import r2_score
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from timing import hold_to_one_thread, print_environment

from skconvfilter import ConvFeatureExtractor, ConvFilterBankRegressor, ConvPatchExtractor

# Cells of the grid along an axis, by the number of axes.
GRID = {1: 6, 2: 3}
N_RANDOM = 200
RATES = [0.01, 0.03, 0.1, 0.003]
EPOCHS, BATCH_SIZE = 100, 64


def ridge():
    """Ridge regression on standardized features."""
    return make_pipeline(StandardScaler(), RidgeCV(np.logspace(-3, 5, 17)))


def kernel_ridge(n_features):
    """Kernel ridge regression on standardized features; the width spans many samples."""
    kernel = Nystroem(gamma=0.3 / n_features, n_components=300, random_state=0)
    return make_pipeline(StandardScaler(), kernel, RidgeCV(np.logspace(-6, 1, 15)))


def random_convolutions(window):
    """Ridge regression on shares and means of positive responses of random filters."""
    extractor = ConvPatchExtractor(**window)
    rng = np.random.default_rng(0)

    def responses(X):
        patches = extractor.fit_transform(X).reshape(len(X), -1, len(filters))
        products = patches @ filters - thresholds
        return np.hstack([(products > 0).mean(axis=1), products.clip(0).mean(axis=1)])

    size = int(np.prod(np.broadcast_to(window["kernel_size"], len(window["input_shape"]))))
    filters = rng.standard_normal((size, N_RANDOM), dtype=np.float32)
    filters -= filters.mean(axis=0)
    thresholds = rng.uniform(-1, 1, N_RANDOM).astype(np.float32)
    return make_pipeline(FunctionTransformer(responses), ridge())


def other_models(window):
    """Models that do not come from this package, by name."""
    mlp = MLPRegressor(hidden_layer_sizes=100, alpha=1.0, max_iter=300, random_state=0)
    return {
        "ridge": ridge(),
        "kernel": kernel_ridge(np.prod(window["input_shape"])),
        "MLP": TransformedTargetRegressor(
            make_pipeline(StandardScaler(), mlp), transformer=StandardScaler()
        ),
        "boosted trees": HistGradientBoostingRegressor(random_state=0),
        "forest": ExtraTreesRegressor(100, max_features=0.3, random_state=0),
        "random convolutions": random_convolutions(window),
        "MiniRocket": make_pipeline(
            FunctionTransformer(lambda X: X[:, np.newaxis]),
            MiniRocket(2000, random_state=0),
            ridge(),
        ),
    }


def size_of(model):
    """Number of fitted numbers; of a tree, a threshold a split and a value a leaf."""
    match model:
        case TransformedTargetRegressor():
            return size_of(model.regressor_)
        case Pipeline():
            return sum(size_of(step) for _, step in model.steps)
        case ConvFeatureExtractor():
            return size_of(model.estimator_)
        case MLPRegressor():
            return sum(map(np.size, model.coefs_ + model.intercepts_))
        case ExtraTreesRegressor():
            return sum(tree.tree_.node_count for tree in model.estimators_)
        case HistGradientBoostingRegressor():
            return sum(len(tree.nodes) for (tree,) in model._predictors)
        case Nystroem():
            return model.components_.size + model.normalization_.size
        case RidgeCV() | ConvFilterBankRegressor():
            return model.coef_.size + np.size(getattr(model, "bias_", ())) + 1
    return 0


def warm_up():
    """Let aeon compile its functions, which takes the first call a minute."""
    X = np.random.default_rng(0).standard_normal((20, 1, 100), dtype=np.float32)
    MiniRocket(2000, random_state=0).fit_transform(X)


def fit(model, X, y):
    """CPU seconds of a fit."""
    start = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(X, y)
    return time.process_time() - start


class Results:
    """Scores, seconds and sizes by model, of one task."""

    def __init__(self):
        self.rows = defaultdict(list)

    def add(self, name, model, seconds, X, y):
        self.rows[name].append((r2_score(y, model.predict(X)), seconds, size_of(model)))
        print(f"    {name}: {self.rows[name][-1]}", flush=True)

    def print(self, task):
        for name, rows in self.rows.items():
            score, seconds, size = np.mean(rows, axis=0)
            scores = [row[0] for row in rows]
            spread = f"{min(scores):.3f} to {max(scores):.3f}"
            print(
                f"| {task} | {name} | {score:.3f} | {spread} | {seconds:.1f} | {size:.0f} |"
            )


def fit_banks(results, task, train, test, sizes):
    """Banks, and regressions on their pooled responses; the first and its seconds."""
    X, y = task.X[train], task.y[train]
    fitted = []
    for n_filters, bias in [(sizes[0], False), *((size, True) for size in sizes)]:
        bank = ConvFilterBankRegressor(
            n_filters,
            **task.window,
            bias=bias,
            alpha="auto",
            diagnostics=False,
            random_state=0,
        )
        seconds = fit(bank, X, y)
        name = f"bank of {n_filters}" + ("" if bias else ", no bias")
        results.add(name, bank, seconds, task.X[test], task.y[test])
        if not bias:
            continue
        fitted.append((bank, seconds))
        n_axes = len(task.window["input_shape"])
        for grid in (1, GRID[n_axes]):
            for head in ("ridge", "kernel"):
                n_features = 2 * n_filters * grid**n_axes
                model = make_pipeline(
                    ConvFeatureExtractor(
                        FrozenEstimator(bank), grid=grid, statistics=("mean", "std")
                    ),
                    ridge() if head == "ridge" else kernel_ridge(n_features),
                )
                more = fit(model, X, y)
                name = f"{n_filters} filters, grid {grid}, {head}"
                results.add(name, model, seconds + more, task.X[test], task.y[test])
    return fitted[0]


def torch_losses(bank, task, rows, budget):
    """Training losses over var(y) of Adam's runs within `budget` CPU seconds."""
    patches = ConvPatchExtractor(**task.window).fit_transform(task.X[rows])
    patches = patches.reshape(len(rows), -1, bank.coef_.shape[1])
    Z = torch.tensor((patches - patches.mean()) / patches.std())
    y = task.y[rows]
    y = torch.tensor((y - y.mean()) / y.std(), dtype=torch.float32)
    start = time.process_time()
    losses = []
    for seed, rate in enumerate(cycle(RATES)):
        torch.manual_seed(seed)
        sizes = [(Z.shape[2], bank.n_filters), (bank.n_filters, 1)]
        network = [torch.nn.Linear(*size) for size in sizes]
        parameters = [p for layer in network for p in layer.parameters()]
        optimizer = torch.optim.Adam(parameters, lr=rate)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS)

        def loss(batch, network=network):
            responses = torch.relu(network[0](Z[batch])).mean(axis=1)
            return ((network[1](responses)[:, 0] - y[batch]) ** 2).mean()

        for _ in range(EPOCHS):
            if time.process_time() - start > budget:
                return losses
            for batch in torch.randperm(len(y)).split(BATCH_SIZE):
                optimizer.zero_grad()
                loss(batch).backward()
                optimizer.step()
            schedule.step()
        with torch.no_grad():
            losses.append(float(loss(slice(None))))


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--splits", type=int, default=3)
    parser.add_argument("--filters", nargs="+", type=int, default=[4, 8])
    parser.add_argument("--torch", type=float, default=10)
    arguments = parser.parse_args()
    hold_to_one_thread()
    warm_up()
    print_environment()
    print("| task | model | R2 | range | CPU s | numbers |\n" + "| --- " * 6 + "|")
    for name in arguments.tasks:
        task, results = make_task(name), Results()
        for train, test in task.splits[: arguments.splits]:
            bank, seconds = fit_banks(results, task, train, test, arguments.filters)
            for other, model in other_models(task.window).items():
                used = fit(model, task.X[train], task.y[train])
                results.add(other, model, used, task.X[test], task.y[test])
            if arguments.torch:
                losses = torch_losses(bank, task, train, arguments.torch * seconds)
                single = clone(bank).set_params(n_init=1)
                for ours, used in [
                    (bank, seconds),
                    (single, fit(single, task.X[train], task.y[train])),
                ]:
                    loss = 1 - r2_score(task.y[train], ours.predict(task.X[train]))
                    print(f"    n_init {ours.n_init}: loss {loss:.4f}, {used:.1f} CPU s")
                best = min(losses, default=np.nan)
                print(f"    PyTorch: loss {best:.4f}, the best of {len(losses)} runs")
        results.print(name)


if __name__ == "__main__":
    main()
