"""How often a bank of filters is recovered, from where, and in what time.

Teachers have singular values that run from 1 to a condition number of 2 unless said
otherwise; patches are normal and independent. A fit is a success if the filters, in the
best order, are within 1e-6 of the teacher's (relative Frobenius distance). Every row of a
table is for the same teachers and data.

    python benchmarks/filter_bank.py               # all tables
    python benchmarks/filter_bank.py recovery      # tensor start, random starts, default
    python benchmarks/filter_bank.py start         # error of the tensor start, against n
    python benchmarks/filter_bank.py noise         # 10 % label noise
    python benchmarks/filter_bank.py peers         # against PyTorch's Adam and L-BFGS
"""

import argparse
import time
import warnings
from statistics import median

import numpy as np
import torch
from timing import hold_to_one_thread, print_environment

from skconvfilter import ConvFilterBankRegressor
from skconvfilter.datasets import make_filter_bank_regression
from skconvfilter.diagnostics import recovery
from skconvfilter.initializers.tensor import tensor_start
from skconvfilter.model.activations import ACTIVATIONS

SUCCESS = 1e-6
# The model of the paper.
PAPER = {"output_weights": "ones", "pooling": "sum", "bias": False}
FIRST_SEED = 40_000

# Filters, patch length, patches, samples, condition number.
RECOVERY_CELLS = [
    (5, 12, 2, 2_000, 2.0),
    (5, 12, 5, 2_000, 2.0),
    (10, 16, 3, 2_000, 2.0),
    (10, 16, 3, 10_000, 2.0),
    (10, 16, 3, 10_000, 10.0),
]
LARGE_CELLS = [(16, 16, 3, 10_000, 2.0), (16, 32, 3, 10_000, 2.0)]
# Learning rates of Adam: they fall a thousandfold over 20,000 updates.
FIRST_RATE, LAST_RATE, DECAY = 1e-2, 1e-5, 1e-3 ** (1 / 20_000)
START_SIZES = [2_500, 10_000, 40_000, 200_000]


def make_task(cell, activation, seed, **options):
    """Data, and the teacher that has labelled them."""
    n_filters, patch_dim, n_patches, n_samples, condition = cell
    bank = ConvFilterBankRegressor(
        n_filters, kernel_size=patch_dim, stride=patch_dim, activation=activation, **PAPER
    )
    return make_filter_bank_regression(
        n_samples,
        bank,
        n_features=n_patches * patch_dim,
        condition_number=condition,
        return_teacher=True,
        random_state=seed,
        **options,
    )


def fit(X, y, cell, activation, **options):
    """A fitted model and the seconds it took."""
    model = ConvFilterBankRegressor(
        cell[0],
        kernel_size=cell[1],
        stride=cell[1],
        activation=activation,
        **(PAPER | {"random_state": 0} | options),
    )
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(X, y)
    return model, time.perf_counter() - start


def error(bank, teacher, activation):
    """Relative distance to the teacher in the best order."""
    return recovery(
        bank, teacher, estimator=ConvFilterBankRegressor(activation=activation)
    ).relative_error


def print_recovery(n_teachers):
    """Success of the tensor start alone, one random start, ten, and the default fit."""
    ways = {
        "tensor": {"n_init": 1},
        "random x1": {"init": "random", "n_init": 1},
        "random x10": {"init": "random", "n_init": 10},
        "default": {},
    }
    print(f"success and median seconds; {n_teachers} teachers a row for t = 5, else half")
    head = "  ".join(f"{name:>17s}" for name in ways)
    print(f"{'activation':12s}  t  p r      n cond  start error  {head}")
    cells = [(cell, name) for cell in RECOVERY_CELLS for name in ACTIVATIONS]
    cells += [(cell, name) for cell in LARGE_CELLS for name in ("relu", "squared_relu")]
    for cell, activation in cells:
        starts, shares, seconds = [], {}, {}
        tasks = [
            make_task(cell, activation, FIRST_SEED + i)
            for i in range(n_teachers if cell[0] <= 5 else max(1, n_teachers // 2))
        ]
        for name, options in ways.items():
            fits = [fit(X, y, cell, activation, **options) for X, y, _ in tasks]
            errors = [
                error(model, teacher, activation)
                for (model, _), (_, _, teacher) in zip(fits, tasks, strict=True)
            ]
            shares[name] = np.mean(np.array(errors) < SUCCESS)
            seconds[name] = median(time for _, time in fits)
            if name == "tensor":
                starts = [
                    error(model.coef_path_[0], teacher, activation)
                    for (model, _), (_, _, teacher) in zip(fits, tasks, strict=True)
                ]
        row = "  ".join(f"{100 * shares[n]:5.0f} % {seconds[n]:7.2f} s" for n in ways)
        t, p, r, n, condition = cell
        print(
            f"{activation:12s} {t:2d} {p:2d} {r} {n:6d} {condition:4.0f}  "
            f"{median(starts):11.3f}  {row}",
            flush=True,
        )
    print()


def tensor_bank(X, y, cell, activation, contraction):
    """The tensor start alone, (n_filters, patch_dim)."""
    patches = X.reshape(len(X), cell[2], cell[1])
    found = tensor_start(
        lambda: (patches[i : i + 512] for i in range(0, len(X), 512)),
        y,
        cell[0],
        ACTIVATIONS[activation],
        contraction=contraction,
        random_state=0,
    )
    return found.W.T


def print_start(n_teachers):
    """Error and seconds of the tensor start, and that of the paper's contraction."""
    print(f"median error of the tensor start, t = 10, p = 16, r = 3, {n_teachers} teachers")
    head = "".join(f"{n:>20d}" for n in START_SIZES)
    print(f"{'activation':14s}{'slices':8s}{head}")
    for activation in ACTIVATIONS:
        for contraction in ("all", "single"):
            cells = []
            for n_samples in START_SIZES:
                cell = (10, 16, 3, n_samples, 2.0)
                errors, seconds = [], []
                n_here = n_teachers if n_samples < 100_000 else max(1, n_teachers // 4)
                for i in range(n_here):
                    X, y, teacher = make_task(cell, activation, FIRST_SEED + i)
                    start = time.perf_counter()
                    bank = tensor_bank(X, y, cell, activation, contraction)
                    seconds.append(time.perf_counter() - start)
                    errors.append(error(bank, teacher, activation))
                cells.append(f"{median(errors):10.3f} {median(seconds):6.2f} s")
            print(f"{activation:14s}{contraction:8s}" + " ".join(cells), flush=True)
    print()


def print_noise(n_teachers):
    """Loss beside that of the fit that starts at the truth."""
    print(f"label noise of 10 % of the spread of y, t = 10, p = 16, {n_teachers} teachers")
    print("share of fits whose loss is within 1 % of the fit started at the truth")
    print(
        f"{'activation':14s}{'n = 2,000':>12s}{'n = 10,000':>12s}{'t = 5, n = 2,000':>18s}"
    )
    for activation in ACTIVATIONS:
        shares = []
        for cell in [
            (10, 16, 3, 2_000, 2.0),
            (10, 16, 3, 10_000, 2.0),
            (5, 12, 2, 2_000, 2.0),
        ]:
            good = []
            for i in range(n_teachers):
                X, y, teacher = make_task(cell, activation, FIRST_SEED + i, snr=100)
                own, _ = fit(X, y, cell, activation)
                oracle, _ = fit(X, y, cell, activation, init=teacher)
                good.append(own.loss_ <= 1.01 * oracle.loss_)
            shares.append(f"{100 * np.mean(good):.0f} %")
        print(
            f"{activation:14s}{shares[0]:>12s}{shares[1]:>12s}{shares[2]:>18s}", flush=True
        )
    print()


def peer_value(patches, W, activation):
    functions = {
        "relu": torch.relu,
        "squared_relu": lambda x: torch.relu(x) ** 2,
        "tanh": torch.tanh,
    }
    return functions[activation](patches @ W).sum(dim=(1, 2))


def descend(optimizer, patches, y, W, activation, seconds_allowed):
    """Adam on mini-batches, or L-BFGS on all samples, until the loss is 0 or time is up."""
    W = torch.tensor(W, requires_grad=True)
    target = 1e-14 * float(y.var())
    start = time.perf_counter()
    lowest = np.inf
    if optimizer == "Adam":
        solver = torch.optim.Adam([W], lr=FIRST_RATE)
        while time.perf_counter() - start < seconds_allowed:
            for rows in torch.randperm(len(y)).split(128):
                solver.zero_grad()
                loss = (peer_value(patches[rows], W, activation) - y[rows]).square().mean()
                loss.backward()
                solver.step()
                solver.param_groups[0]["lr"] *= DECAY
            with torch.no_grad():
                loss = float((peer_value(patches, W, activation) - y).square().mean())
            lowest = min(lowest, loss)
            if lowest < target or solver.param_groups[0]["lr"] < LAST_RATE:
                break
        return W.detach().numpy(), lowest
    solver = torch.optim.LBFGS(
        [W], max_iter=20, history_size=20, line_search_fn="strong_wolfe", tolerance_change=0
    )

    def closure():
        solver.zero_grad()
        loss = (peer_value(patches, W, activation) - y).square().mean()
        loss.backward()
        return loss

    while time.perf_counter() - start < seconds_allowed:
        loss = float(solver.step(closure).detach())
        if loss < target or loss > 0.999 * lowest:
            break
        lowest = min(lowest, loss)
    return W.detach().numpy(), float(closure().detach())


def print_peers(n_teachers, seconds_allowed=20.0):
    """Success and seconds of the default fit, and of PyTorch with as many restarts."""
    torch.manual_seed(0)
    print(f"success and median seconds a fit, up to 10 starts each, {n_teachers} teachers")
    print(f"{'activation':14s} t  p r      n {'here':>16s} {'Adam':>16s} {'L-BFGS':>16s}")
    for cell in [(5, 12, 2, 2_000, 2.0), (10, 16, 3, 10_000, 2.0)]:
        for activation in ("relu", "squared_relu", "tanh"):
            found = {"here": [], "Adam": [], "L-BFGS": []}
            seconds = {name: [] for name in found}
            for i in range(n_teachers):
                X, y, teacher = make_task(cell, activation, FIRST_SEED + i)
                model, took = fit(X, y, cell, activation)
                found["here"].append(error(model, teacher, activation) < SUCCESS)
                seconds["here"].append(took)
                patches = torch.from_numpy(X.reshape(len(X), cell[2], cell[1]))
                rng = np.random.default_rng(i)
                starts = rng.standard_normal((10, cell[1], cell[0])) * 1.5 / cell[1] ** 0.5
                for name in ("Adam", "L-BFGS"):
                    start, best = time.perf_counter(), (np.inf, None)
                    for W in starts:
                        left = seconds_allowed - (time.perf_counter() - start)
                        if left <= 0 or best[0] < 1e-12 * y.var():
                            break
                        W, loss = descend(
                            name, patches, torch.from_numpy(y), W, activation, left
                        )
                        best = min(best, (loss, W), key=lambda pair: pair[0])
                    seconds[name].append(time.perf_counter() - start)
                    found[name].append(error(best[1].T, teacher, activation) < SUCCESS)
            t, p, r, n, _ = cell
            row = " ".join(
                f"{100 * np.mean(found[k]):4.0f} % {median(seconds[k]):7.2f} s"
                for k in found
            )
            print(f"{activation:14s}{t:2d} {p:2d} {r} {n:6d} {row}", flush=True)
    print()


TABLES = {
    "recovery": (print_recovery, 20),
    "start": (print_start, 20),
    "noise": (print_noise, 20),
    "peers": (print_peers, 5),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("table", nargs="?", choices=TABLES)
    parser.add_argument("--teachers", type=int, help="teachers per row")
    arguments = parser.parse_args()
    hold_to_one_thread()
    print_environment()
    for name in [arguments.table] if arguments.table else TABLES:
        table, n_teachers = TABLES[name]
        table(arguments.teachers or n_teachers)


if __name__ == "__main__":
    main()
