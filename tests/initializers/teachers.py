"""Banks that are to be found again, and what they make of patches."""

from typing import NamedTuple

import numpy as np
from skconvfilter.diagnostics.banks import bank_recovery

from skconvfilter.initializers.moments import Bank
from skconvfilter.model.activations import ACTIVATIONS

NAMES = list(ACTIVATIONS)
# Activations that leave output signs to be told from those of filters.
SIGNED = ["relu", "leaky_relu", "squared_relu"]


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
        """Relative error of filters in the best order."""
        return bank_recovery(
            W.T,
            self.bank.filters.T,
            output_weights=signs,
            teacher_output_weights=self.bank.signs,
            activation=self.activation.name,
        ).relative_error


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
