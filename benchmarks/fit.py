"""Seconds to a small loss: default fits against PyTorch's optimisers; R2 against others.

Teachers label MNIST's 10,000 test images, 5x5 windows at stride 1, float32, one thread.
PyTorch fits the paper's model (no intercept, sign known), this package its default one.
SGD and Adam advance 16 restarts at once, as 16 filters of one convolution, which is their
fastest way; L-BFGS (strong Wolfe, all samples) takes one restart after the other, each
until its loss stalls. Learning rates, and SGD's momentum, are the best of a grid for two
teachers of their own. The clock stands still while PyTorch's loss is evaluated; whoever
has not arrived when time is up counts with the time that was allowed, as a lower bound.
For this package the time to any loss is the time of the whole fit. Seconds are those of one
core, so that other processes do not count.

The table of banks has a default bank of four filters beside a default fit of one, each on
labels of its own kind, and PyTorch's Adam on the bank's architecture with 16 restarts at
once: filters, biases, output weights and intercept.

    python benchmarks/fit.py               # all tables
    python benchmarks/fit.py speed         # against PyTorch's optimisers
    python benchmarks/fit.py bank          # a bank of four filters
    python benchmarks/fit.py quality       # R2 and seconds against scikit-learn

Needs the MNIST test set, see ``skconvfilter.datasets.load_mnist``.
"""

import argparse
import time
from collections import namedtuple
from functools import partial
from itertools import product

import numpy as np
import torch
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import RidgeCV
from sklearn.metrics import r2_score
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from timing import hold_to_one_thread, print_environment

from skconvfilter import (
    ConvFilterBankRegressor,
    ConvPatchExtractor,
    ConvReLUFilterRegressor,
)
from skconvfilter.datasets import (
    load_mnist,
    make_filter_bank_regression,
    make_filter_regression,
)

Task = namedtuple("Task", "images y init")

WINDOW = {"kernel_size": 5, "input_shape": (28, 28)}
MODEL = ConvReLUFilterRegressor(**WINDOW)
N_FILTERS = 4
BANK = ConvFilterBankRegressor(N_FILTERS, **WINDOW)
# Learning rates of Adam for a bank, whose starts have the default size of PyTorch.
BANK_GRID = [0.003, 0.01, 0.03]
THRESHOLDS = [1e-3, 1e-6, 1e-10]
N_RESTARTS = 16
FIRST_TEACHER, FIRST_TUNING_TEACHER, N_TUNING = 70_000, 60_000, 2
# Learning rates of SGD are relative to that of the theory, those of Adam to the length of
# an entry of the teacher.
GRIDS = {
    "SGD": list(product([0.3, 1.0, 3.0], [0.0, 0.9])),
    "Adam": [0.03, 0.1, 0.3, 1.0],
}
BATCH_SIZE, CHUNK = 64, 512
STALL_STEPS, STALL_SHARE = 20, 0.01


def make_task(X, seed):
    """Images labelled by one teacher, and starts of the teacher's length."""
    y, teacher = make_filter_regression(
        X=X, estimator=MODEL, return_teacher=True, random_state=seed
    )[1:]
    starts = np.random.default_rng(seed).standard_normal((N_RESTARTS, 1, 5, 5))
    starts *= np.linalg.norm(teacher) / 5
    images = torch.from_numpy(X.reshape(-1, 1, 28, 28))
    return Task(images, torch.from_numpy(y.astype(np.float32))[:, None], starts)


class Clock:
    """When the lowest relative loss first fell below each threshold."""

    def __init__(self, task, seconds_allowed):
        self.task, self.seconds_allowed = task, seconds_allowed
        self.seconds, self.reached = 0.0, {}
        self.start = time.process_time()

    def is_over(self):
        """Whether time is up or the last threshold is reached."""
        out_of_time = self.seconds + time.process_time() - self.start > self.seconds_allowed
        return out_of_time or THRESHOLDS[-1] in self.reached

    def note(self, relative_loss):
        """Take down a loss that was reached now."""
        self.seconds += time.process_time() - self.start
        for threshold in THRESHOLDS:
            if relative_loss < threshold:
                self.reached.setdefault(threshold, self.seconds)
        self.start = time.process_time()

    def evaluate(self, model):
        """Take down the lowest loss of some models, the clock standing still."""
        self.seconds += time.process_time() - self.start
        with torch.no_grad():
            values = [model(images) for images in self.task.images.split(CHUNK)]
            losses = (torch.cat(values) - self.task.y).square().mean(dim=0)
        self.start = time.process_time()
        lowest = float(losses.min() / self.task.y.mean() ** 2)
        self.note(lowest)
        return lowest


def values_of(images, weight):
    return torch.relu(torch.nn.functional.conv2d(images, weight)).mean(dim=(2, 3))


def descend(optimizer, setting, task, seconds_allowed):
    """SGD or Adam, all restarts at once, an evaluation after each epoch."""
    weight = torch.tensor(task.init, dtype=torch.float32, requires_grad=True)
    if optimizer == "SGD":
        rate, momentum = setting
        scale = float(task.images.mean(dim=(2, 3)).square().mean()) * 25
        solver = torch.optim.SGD([weight], lr=rate / scale, momentum=momentum)
    else:
        solver = torch.optim.Adam([weight], lr=setting * float(weight.detach().std()))
    clock = Clock(task, seconds_allowed)
    generator = torch.Generator().manual_seed(0)
    lowest = np.inf
    while not clock.is_over():
        for rows in torch.randperm(len(task.y), generator=generator).split(BATCH_SIZE):
            solver.zero_grad()
            errors = values_of(task.images[rows], weight) - task.y[rows]
            (0.5 * errors.square().mean(dim=0).sum()).backward()
            solver.step()
            if clock.is_over():
                break
        lowest = min(lowest, clock.evaluate(partial(values_of, weight=weight)))
    return clock.reached, lowest


def descend_lbfgs(task, seconds_allowed):
    """L-BFGS on all samples, one restart after the other."""
    clock = Clock(task, seconds_allowed)
    lowest = np.inf
    for start in task.init:
        weight = torch.tensor(start[None], dtype=torch.float32, requires_grad=True)
        solver = torch.optim.LBFGS(
            [weight],
            max_iter=1,
            history_size=20,
            line_search_fn="strong_wolfe",
            tolerance_grad=0,
            tolerance_change=0,
        )
        losses = []
        while not clock.is_over() and not _stalled(losses):
            losses.append(_lbfgs_step(solver, weight, task))
            clock.note(losses[-1])
            lowest = min(lowest, losses[-1])
        if clock.is_over():
            break
    return clock.reached, lowest


def _lbfgs_step(solver, weight, task):
    """One step; returns the relative loss before it."""
    power = float(task.y.mean() ** 2)
    batches = list(zip(task.images.split(CHUNK), task.y.split(CHUNK), strict=True))

    def closure():
        solver.zero_grad()
        total = 0.0
        for images, y in batches:
            loss = (values_of(images, weight) - y).square().sum() / (power * len(task.y))
            loss.backward()
            total += float(loss.detach())
        return torch.tensor(total)

    return float(solver.step(closure))


def _stalled(losses):
    if len(losses) <= STALL_STEPS:
        return False
    return min(losses[-STALL_STEPS:]) > (1 - STALL_SHARE) * min(losses[:-STALL_STEPS])


def best_setting(optimizer, X, seconds_allowed):
    """The setting with the lowest losses for teachers of their own, in the mean of logs."""
    tasks = [make_task(X, FIRST_TUNING_TEACHER + i) for i in range(N_TUNING)]

    def score(setting):
        runs = [descend(optimizer, setting, task, seconds_allowed) for task in tasks]
        return np.mean([np.log10(lowest) for _, lowest in runs])

    scores = {setting: score(setting) for setting in GRIDS[optimizer]}
    return min(scores, key=scores.get)


def fit_here(X, seed):
    """Seconds of a default fit and its relative loss."""
    y = make_filter_regression(X=X, estimator=MODEL, random_state=seed)[1]
    start = time.process_time()
    model = ConvReLUFilterRegressor(**WINDOW, random_state=seed).fit(X, y)
    return time.process_time() - start, model.relative_loss_


def print_speed(X, n_teachers, seconds_allowed):
    settings = {name: best_setting(name, X, seconds_allowed / 4) for name in GRIDS}
    print(f"best of the grids: {settings}\n")
    runs = {name: [] for name in ["here", *GRIDS, "L-BFGS"]}
    for seed in range(FIRST_TEACHER, FIRST_TEACHER + n_teachers):
        seconds, loss = fit_here(X, seed)
        runs["here"].append({t: seconds for t in THRESHOLDS if loss < t})
        task = make_task(X, seed)
        for name, setting in settings.items():
            runs[name].append(descend(name, setting, task, seconds_allowed)[0])
        runs["L-BFGS"].append(descend_lbfgs(task, seconds_allowed)[0])
        print(f"teacher {seed}: here {seconds:.2f} s", flush=True)
    print(f"\nmedian seconds of {n_teachers} teachers to a relative loss; in brackets")
    print(
        f"how many got there within {seconds_allowed:g} s, and multiples of this package's"
    )
    print(f"{'':8}", *(f"{threshold:>22g}" for threshold in THRESHOLDS))
    medians = {}
    for name, results in runs.items():
        cells = []
        for threshold in THRESHOLDS:
            seconds = [reached.get(threshold, seconds_allowed) for reached in results]
            n_reached = sum(threshold in reached for reached in results)
            medians[name, threshold] = median = np.median(seconds)
            bound = ">" if n_reached <= len(results) / 2 else " "
            ratio = median / medians["here", threshold]
            cells.append(f"{bound}{median:6.2f} ({n_reached:2d}) {bound}{ratio:5.0f}x")
        print(f"{name:8}", *(f"{cell:>22}" for cell in cells))


class TorchBanks(torch.nn.Module):
    """The bank's architecture, all restarts side by side; outputs (n_samples, R)."""

    def __init__(self, intercept):
        super().__init__()
        self.convolution = torch.nn.Conv2d(1, N_RESTARTS * N_FILTERS, 5)
        weights = torch.randn(N_RESTARTS, N_FILTERS).sign()
        self.weights = torch.nn.Parameter(weights)
        self.intercepts = torch.nn.Parameter(torch.full((N_RESTARTS,), intercept))

    def forward(self, images):
        pooled = torch.relu(self.convolution(images)).mean(dim=(2, 3))
        by_bank = pooled.reshape(-1, N_RESTARTS, N_FILTERS) * self.weights
        return by_bank.sum(dim=2) + self.intercepts


def label_by_bank(X, seed):
    return make_filter_bank_regression(
        X=X, estimator=BANK, output_weights="signs", random_state=seed
    )[1]


def descend_banks(rate, X, y, seconds_allowed):
    """Adam, all restarts at once, an evaluation after each epoch."""
    torch.manual_seed(0)
    images = torch.from_numpy(X.reshape(-1, 1, 28, 28))
    scale = float(y.std())
    task = Task(images, torch.from_numpy((y / scale).astype(np.float32))[:, None], None)
    banks = TorchBanks(float(task.y.mean()))
    solver = torch.optim.Adam(banks.parameters(), lr=rate)
    clock, lowest = Clock(task, seconds_allowed), np.inf
    while not clock.is_over():
        for rows in torch.randperm(len(y)).split(BATCH_SIZE):
            solver.zero_grad()
            errors = banks(task.images[rows]) - task.y[rows]
            (0.5 * errors.square().mean(dim=0).sum()).backward()
            solver.step()
            if clock.is_over():
                break
        lowest = min(lowest, clock.evaluate(banks))
    return lowest * float(y.mean()) ** 2 / float(y.var())


def print_bank(X, n_teachers, seconds_allowed):
    """Losses over the variance of the labels: their mean may be about 0."""
    tuning = label_by_bank(X, FIRST_TUNING_TEACHER)
    losses = {r: descend_banks(r, X, tuning, seconds_allowed / 4) for r in BANK_GRID}
    rate = min(losses, key=losses.get)
    print(f"Adam: best rate of the grid {rate}, {seconds_allowed:g} s for each teacher")
    print("loss / var(y)   one filter: s, loss     bank of 4: s, loss     PyTorch: loss")
    for seed in range(FIRST_TEACHER, FIRST_TEACHER + n_teachers):
        cells = []
        labels = make_filter_regression(X=X, estimator=MODEL, random_state=seed)[1]
        for model, y in ((MODEL, labels), (BANK, label_by_bank(X, seed))):
            start = time.process_time()
            fitted = clone(model).set_params(random_state=seed).fit(X, y)
            seconds = time.process_time() - start
            cells.append(f"{seconds:13.2f} {2 * fitted.loss_ / y.var():9.1e}")
        lowest = descend_banks(rate, X, label_by_bank(X, seed), seconds_allowed)
        print(f"teacher {seed}", *cells, f"{lowest:17.1e}", flush=True)


def print_quality(X):
    X, y, clean = _noisy(X)
    X_train, X_test, y_train, _, _, clean_test = train_test_split(
        X, y, clean, test_size=0.2, random_state=0
    )
    mean_patch = make_pipeline(
        ConvPatchExtractor(**WINDOW), FunctionTransformer(_mean_patch), RidgeCV()
    )
    models = {
        "this package": ConvReLUFilterRegressor(**WINDOW, random_state=0),
        "Ridge, mean patches": mean_patch,
        "Ridge, pixels": make_pipeline(StandardScaler(), RidgeCV(np.logspace(0, 4, 5))),
        "MLPRegressor": TransformedTargetRegressor(
            MLPRegressor(early_stopping=True, random_state=0), transformer=StandardScaler()
        ),
        "HistGradientBoosting": HistGradientBoostingRegressor(random_state=0),
    }
    print(
        "8,000 images, labels with noise (SNR 10); R2 on the clean labels of 2,000 others"
    )
    for name, model in models.items():
        start = time.process_time()
        model.fit(X_train, y_train)
        seconds = time.process_time() - start
        r2 = r2_score(clean_test, model.predict(X_test))
        print(f"{name:22} R2 {r2:7.4f}  {seconds:7.2f} s", flush=True)


def _noisy(X):
    clean = make_filter_regression(X=X, estimator=MODEL, random_state=FIRST_TEACHER)[1]
    noise = np.random.default_rng(0).standard_normal(len(clean))
    return X, clean + np.sqrt(clean.var() / 10) * noise, clean


def _mean_patch(windows):
    return windows.mean(axis=(1, 2)).reshape(len(windows), -1)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("tables", nargs="*", default=["speed", "bank", "quality"])
    parser.add_argument("--teachers", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=60.0, help="for a PyTorch run")
    options = parser.parse_args()
    hold_to_one_thread()
    print_environment()
    X = load_mnist(dtype=np.float32)[0]
    if "speed" in options.tables:
        print_speed(X, options.teachers, options.seconds)
        print()
    if "bank" in options.tables:
        print_bank(X, options.teachers, options.seconds)
        print()
    if "quality" in options.tables:
        print_quality(X)


if __name__ == "__main__":
    main()
