"""Problems with a known teacher, starts for them, and solvers."""

from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from sklearn.datasets import load_digits

from skconvfilter import ConvFilterBankRegressor
from skconvfilter.datasets import make_filter_bank_regression, random_filter
from skconvfilter.initializers.random_starts import ball_starts
from skconvfilter.model.activations import ACTIVATIONS
from skconvfilter.model.bank_objective import BankObjective, make_bank_objective
from skconvfilter.model.filter_objective import FilterObjective
from skconvfilter.model.geometry import Convolution, flatten_windows
from skconvfilter.solvers.driver import Solver, SolverState, Stopping
from skconvfilter.solvers.levenberg_marquardt import LevenbergMarquardt
from skconvfilter.solvers.multistart import Candidates
from skconvfilter.solvers.schedules import Constant, Schedule
from skconvfilter.solvers.search import sequential_multistart
from skconvfilter.solvers.sgd import SGD

# Losses that are zero to machine precision, for targets of variance one.
FLOOR = 0.5 * (64 * np.finfo(float).eps) ** 2
# Of the banks here.
N_FILTERS, PATCH_DIM = 2, 4
DIGITS = load_digits().data  # images of digits, flat, with pixels from 0 to 16


class Problem(NamedTuple):
    """Targets that a known filter has made."""

    objective: FilterObjective
    teacher: np.ndarray  # (p,)
    patches: np.ndarray  # (n, k, p)

    @property
    def power(self):
        """Mean square of the targets."""
        return np.mean(self.objective.targets**2)


def gaussian_problem(n=300, k=4, p=5, seed=0, noise=0.0, sign=1.0, **options):
    """Independent normal patches."""
    rng = np.random.default_rng(seed)
    patches = rng.standard_normal((n, k, p))
    teacher = rng.standard_normal(p)
    y = sign * np.maximum(patches @ teacher, 0).mean(axis=1)
    y += noise * rng.standard_normal(n)
    return Problem(
        FilterObjective(*flatten_windows(patches), y, **options), teacher, patches
    )


def digits_problem(n=400, teacher=0, noise=0.0, images=DIGITS / 16, **options):
    """3x3 windows on images of digits."""
    images = images[:n]
    if np.ndim(teacher) == 0:
        teacher = random_filter(9, random_state=teacher)
    windows = sliding_window_view(images.reshape(-1, 8, 8), (3, 3), axis=(1, 2))
    patches = windows.reshape(len(images), 36, 9)
    y = np.maximum(patches @ teacher, 0).mean(axis=1)
    y += noise * y.std() * np.random.default_rng(1).standard_normal(len(y))
    return Problem(
        FilterObjective(*flatten_windows(windows), y, **options), teacher, patches
    )


def active_means(patches, w):
    """Mean over a sample's patches of those with ``w . Z_i > 0``, written out."""
    active = (patches @ w > 0)[:, :, np.newaxis]
    return (active * patches).sum(axis=1) / patches.shape[1]


def random_starts(objective, n_starts=16, seed=0):
    """Random starts of positive output sign."""
    generators = [np.random.default_rng([seed, i]) for i in range(n_starts)]
    W = ball_starts(objective, generators, np.ones(n_starts))
    return Candidates(W, np.ones(n_starts), np.arange(n_starts))


class Still(Solver):
    """Leaves every model where it is, and writes down the sizes of what it runs on."""

    def __init__(self):
        self.runs = []

    def init(self, objective, W, signs):
        self.runs.append((objective.n_samples, W.shape[1]))
        return SolverState.start(W, signs, objective.gradient(W, signs))

    def step(self, objective, state, running):
        state.stage[running] = "still"


class Rule(Schedule):
    """A schedule from a function of the step and the losses."""

    def __init__(self, rule):
        self.rule = rule

    def __call__(self, step, running):
        return self.rule(step, running.losses)


def make_sgd(schedule, batch_size=16, redraw=None, seed=0):
    """SGD from a rate or a schedule, by default for starts that do not die."""

    def no_redraw(restart):
        raise AssertionError(f"restart {restart} has died")

    if not isinstance(schedule, Schedule):
        schedule = Constant(schedule)
    return SGD(schedule, batch_size, redraw or no_redraw, seed)


class BankProblem(NamedTuple):
    """Targets that a known bank of two filters has made."""

    objective: BankObjective
    teacher: np.ndarray  # (n_parameters,)
    signs: np.ndarray  # (n_filters,)

    @property
    def power(self):
        return np.var(self.objective.targets)


def bank_problem(n=300, noise=0.0, signs=(1.0, 1.0), seed=0):
    """Three patches of length four a sample."""
    rng = np.random.default_rng(seed)
    patches = rng.standard_normal((n, 3, PATCH_DIM))
    teacher = rng.standard_normal((N_FILTERS, PATCH_DIM))
    y = np.maximum(patches @ teacher.T, 0).sum(axis=1) @ np.array(signs)
    y += noise * y.std() * rng.standard_normal(n)
    options = {"n_filters": N_FILTERS, "activation": ACTIVATIONS["relu"], "pooling": "sum"}
    objective = BankObjective(*flatten_windows(patches), y, **options)
    return BankProblem(objective, teacher.ravel(), np.array(signs))


def random_banks(n_starts, seed=0):
    W = np.random.default_rng(seed).standard_normal((N_FILTERS * PATCH_DIM, n_starts))
    return Candidates(W, np.ones((n_starts, N_FILTERS)), np.arange(n_starts))


def candidates(*starts, signs=None, n_filters=None):
    n = len(starts)
    signs = np.ones(n) if signs is None else np.array(signs)
    if n_filters is not None:
        signs = np.ones((n, n_filters))
    return Candidates(np.column_stack(starts), signs, np.arange(n))


def stand_one_by_one(objective, starts, sample=None, **options):
    """Sizes of samples and groups, and the result, of a search that moves no bank."""
    solver, stopping = Still(), Stopping(2, 0.0, 9, FLOOR)
    options |= {"sample": sample or objective, "starts": starts}
    result = sequential_multistart(objective, solver=solver, stopping=stopping, **options)
    return solver.runs, result


def one_by_one(objective, starts, sample=None, **options):
    solver, stopping = LevenbergMarquardt(), Stopping(100, 1e-4, 5, FLOOR)
    sample = objective if sample is None else sample
    return sequential_multistart(objective, sample, starts, solver, stopping, **options)


def planted_objective(
    activation="relu", n_filters=2, n_samples=400, seed=0, noise=0.0, bias=False
):
    """The objective of a bank on normal images that a bank of two has labelled."""
    model = ConvFilterBankRegressor(
        2, activation=activation, kernel_size=3, input_shape=(6, 6)
    )
    biases = [0.3, -0.5] if bias else 0.0
    X, y = make_filter_bank_regression(
        n_samples,
        model,
        output_weights=[1, -1],
        noise=noise,
        bias=biases,
        random_state=seed,
    )
    return make_bank_objective(
        X,
        Convolution.of(model).geometry(36).with_constant(float(bias)),
        y / y.std(),
        n_filters=n_filters,
        activation=ACTIVATIONS[activation],
        pooling="mean",
    )


class StopAfter:
    """A callback of a forward start that writes down losses and stops after so many."""

    def __init__(self, n_iterations, objective):
        self.n_iterations = n_iterations
        self.objective = objective
        self.losses = []

    def __call__(self, snapshot):
        assert snapshot.stage == "forward"
        assert snapshot.incumbent.w.shape == (self.objective.n_parameters,)
        assert snapshot.incumbent.sign.shape == (self.objective.n_filters,)
        self.losses.append(snapshot.incumbent.loss)
        return len(self.losses) == self.n_iterations

    def check(self, bank):
        """The bank that a stopped search returns is the best that was seen."""
        assert len(self.losses) == self.n_iterations
        assert bank.loss <= min(self.losses) * (1 + 1e-9)
