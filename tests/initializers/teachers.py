"""Banks that are to be found again, and what they make of patches."""

from typing import NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment

from skconvfilter.initializers.moments import Bank
from skconvfilter.model.activations import ACTIVATIONS

NAMES = list(ACTIVATIONS)
# Activations that leave output signs to be told from those of filters.
SIGNED = ["relu", "leaky_relu", "squared_relu"]
# One for each set of orders that do not vanish: 1, 2 and 4; 1, 2 and 3; 1 and 3.
KINDS = ["relu", "squared_relu", "tanh"]


class Data(NamedTuple):
    """Patches, targets and the bank that made them."""

    activation: object
    patches: np.ndarray  # (n_samples, n_patches, patch_dim)
    targets: np.ndarray  # (n_samples,)
    bank: Bank

    def blocks(self):
        """The patches in blocks of various lengths."""
        cuts = [len(self.patches) // 7, len(self.patches) // 2]
        return iter(np.split(self.patches, cuts))

    def error(self, W, signs):
        """Relative error of filters in the best order; infinite if signs differ."""
        differences = W[:, :, np.newaxis] - self.bank.filters[:, np.newaxis]
        other_sign = np.sign(signs)[:, np.newaxis] != self.bank.signs
        costs = np.sum(differences**2, axis=0) + 1e9 * other_sign
        order = linear_sum_assignment(costs)
        if other_sign[order].any():
            return np.inf
        return np.sqrt(costs[order].sum()) / np.linalg.norm(self.bank.filters)


def make_filters(patch_dim, n_filters, rng, condition=2.0):
    """Filters with singular values from 1 to the condition number."""
    left = np.linalg.qr(rng.standard_normal((patch_dim, n_filters)))[0]
    right = np.linalg.qr(rng.standard_normal((n_filters, n_filters)))[0]
    return left * np.linspace(1, condition, n_filters) @ right


def make_data(
    name,
    n_samples,
    n_filters=5,
    patch_dim=8,
    *,
    n_patches=3,
    signed=False,
    root=None,
    mean=0.0,
    seed=0,
):
    """Normal patches of covariance ``root root'``, labelled without noise."""
    rng = np.random.default_rng(seed)
    activation = ACTIVATIONS[name]
    filters = make_filters(patch_dim, n_filters, rng)
    signs = rng.choice([-1.0, 1.0], n_filters) if signed else np.ones(n_filters)
    patches = rng.standard_normal((n_samples, n_patches, patch_dim))
    if root is not None:
        patches = patches @ root.T
    patches = patches + mean
    targets = (activation.value(patches @ filters) @ signs).sum(axis=1)
    return Data(activation, patches, targets, Bank(filters, signs))


def make_generators(n_starts, seed=0):
    """One generator per start."""
    return [np.random.default_rng([seed, i]) for i in range(n_starts)]
