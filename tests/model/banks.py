"""Banks of filters on small regression problems, by loops straight from the formulas."""

import math
from typing import NamedTuple

import numpy as np
from hypothesis import strategies as st

from skconvfilter.model.activations import ACTIVATIONS
from skconvfilter.model.bank_objective import make_bank_objective
from tests.model.problems import Problem, make_problem, problems

# Values and derivatives, written out.
FUNCTIONS = {
    "relu": (lambda x: max(0.0, x), lambda x: float(x > 0)),
    "leaky_relu": (lambda x: max(0.01 * x, x), lambda x: 1.0 if x > 0 else 0.01),
    "squared_relu": (lambda x: max(0.0, x) ** 2, lambda x: 2 * max(0.0, x)),
    "sigmoid": (
        lambda x: 1 / (1 + math.exp(-x)),
        lambda x: math.exp(-x) / (1 + math.exp(-x)) ** 2,
    ),
    "tanh": (math.tanh, lambda x: 1 / math.cosh(x) ** 2),
    "erf": (math.erf, lambda x: 2 / math.sqrt(math.pi) * math.exp(-(x**2))),
}
POOLINGS = ["sum", "mean"]


class Banks(NamedTuple):
    """Data, and several banks of filters to evaluate the objective at."""

    data: Problem
    name: str
    pooling: str
    filters: np.ndarray  # (R, t, p)
    signs: np.ndarray  # (R, t)

    @property
    def W(self):
        return self.filters.reshape(len(self.filters), -1).T

    @property
    def p(self):
        return self.filters.shape[2]

    @property
    def objective(self):
        return self.objective_on(self.data.samples)

    def objective_on(self, samples, **options):
        return make_bank_objective(
            samples,
            self.data.geometry,
            self.data.targets,
            n_filters=self.filters.shape[1],
            activation=ACTIVATIONS[self.name],
            pooling=self.pooling,
            **self.data.options | options,
        )

    def take(self, banks):
        return self._replace(filters=self.filters[banks], signs=self.signs[banks])

    def with_data(self, **changes):
        return self._replace(data=self.data._replace(**changes))

    def with_filters(self, filters):
        """The same data, and models of which each is all of one kind of these filters."""
        return self._replace(
            filters=np.tile(filters[:, np.newaxis], (1, self.filters.shape[1], 1)),
            signs=self.signs[: len(filters)],
        )

    @property
    def scale(self):
        """What the sum over patches is multiplied by."""
        return 1.0 if self.pooling == "sum" else 1 / self.data.patches.shape[1]

    @property
    def values(self):
        """Values without intercept, by loops, shape (n, R)."""
        function, _ = FUNCTIONS[self.name]
        values = np.zeros((len(self.data.patches), len(self.filters)))
        for n, sample in enumerate(np.float64(self.data.patches)):
            for r, (bank, signs) in enumerate(zip(self.filters, self.signs, strict=True)):
                for w, sign in zip(bank, signs, strict=True):
                    total = sum(function(float(patch @ w)) for patch in sample)
                    values[n, r] += sign * self.scale * total
        return values

    @property
    def jacobians(self):
        """Derivatives of the values by all entries, by loops, shape (R, n, t p)."""
        _, slope = FUNCTIONS[self.name]
        patches = np.float64(self.data.patches)
        jacobians = np.zeros((len(self.filters), len(patches), *self.filters.shape[1:]))
        for r, (bank, signs) in enumerate(zip(self.filters, self.signs, strict=True)):
            for n, sample in enumerate(patches):
                for j, (w, sign) in enumerate(zip(bank, signs, strict=True)):
                    for patch in sample:
                        factor = sign * self.scale * slope(float(patch @ w))
                        jacobians[r, n, j] += factor * patch
        return jacobians.reshape(len(self.filters), len(patches), -1)

    @property
    def with_best_scale(self):
        """The best output scales (R,), and these banks with them in their signs."""
        weights, scales = self.data.all_weights, []
        values, targets = self.values, self.data.targets
        if self.data.fit_intercept:
            values = values - np.average(values, axis=0, weights=weights)
            targets = targets - np.average(targets, weights=weights)
        for fit, bank in zip(values.T, self.filters, strict=True):
            penalty = self.data.alpha * np.sum(bank**2)
            power = np.average(fit**2, weights=weights) + penalty
            scales.append(np.average(fit * targets, weights=weights) / power)
        return scales, self._replace(signs=np.array(scales)[:, np.newaxis] * self.signs)

    @property
    def centred(self):
        """Errors (n, R) and Jacobians with what the best intercept takes removed."""
        errors = self.values - self.data.targets[:, np.newaxis]
        jacobians = self.jacobians
        if self.data.fit_intercept:
            weights = self.data.all_weights
            errors -= np.average(errors, axis=0, weights=weights)
            jacobians -= np.average(jacobians, axis=1, weights=weights)[:, np.newaxis]
        return errors, jacobians

    @property
    def rounding(self):
        """What rounding may make of values; squares of it have the size of losses."""
        eps = np.finfo(self.data.samples.dtype).eps
        sizes = 1 + np.abs(self.data.patches) @ np.abs(self.filters.reshape(-1, self.p).T)
        return 50 * eps * (sizes**2).sum(axis=(1, 2)).max()


def make_banks(data=None, name="tanh", pooling="sum", n_banks=2, n_filters=3, **options):
    data = make_problem(**options) if data is None else data
    rng = np.random.default_rng(1)
    filters = rng.standard_normal((n_banks, n_filters, data.geometry.layout.patch_dim))
    filters = filters.astype(data.samples.dtype).astype(float)
    signs = rng.choice([-1.0, 1.0], size=(n_banks, n_filters))
    return Banks(data, name, pooling, 0.7 * filters, signs)


@st.composite
def banks(draw, names=tuple(FUNCTIONS), **options):
    """Some banks of filters, with data in any small geometry."""
    return make_banks(
        draw(problems(**options)),
        draw(st.sampled_from(names)),
        draw(st.sampled_from(POOLINGS)),
        n_banks=draw(st.integers(1, 3)),
        n_filters=draw(st.integers(1, 3)),
    )
