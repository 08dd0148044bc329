"""Random banks of filters to start from."""

import numpy as np

# Samples that lengths are taken from.
_MAX_ROWS = 1000


def random_banks(objective, generators, signs):
    """One bank per generator, of filters in random directions.

    The filters of a bank have one length, drawn from the data: where the activation is
    homogeneous it gives the values of the bank the spread of the targets, else responses
    the root mean square 1, about which saturating activations bend.

    Parameters
    ----------
    objective : BankObjective
    generators : list of numpy.random.Generator
        One per bank, so that a start depends on its own seed alone.
    signs : ndarray of shape (R, n_filters)
        Output weights of the banks.

    Returns
    -------
    W : ndarray of shape (n_parameters, R)
    """
    shape = (objective.n_filters, objective.patch_dim)
    directions = np.array([rng.standard_normal(shape) for rng in generators])
    directions /= np.linalg.norm(directions, axis=2, keepdims=True)
    W = directions.reshape(len(generators), -1).T
    if objective.n_samples > _MAX_ROWS:
        rows = np.linspace(0, objective.n_samples - 1, _MAX_ROWS).astype(int)
        objective = objective.subset(rows)
    homogeneity = objective.activation.homogeneity
    if homogeneity is None:
        power = objective.mean_square_response(W)
        return W / np.sqrt(np.where(power > 0, power, 1.0))
    weights = objective.sample_weight
    columns = np.column_stack([objective.targets, objective.predict(W, signs)])
    columns -= np.average(columns, axis=0, weights=weights)
    wanted, *spread = np.sqrt(np.average(columns**2, axis=0, weights=weights))
    varies = np.array(spread) > objective.rounding(homogeneity)
    ratio = np.divide(wanted, spread, out=np.ones(len(spread)), where=varies)
    # Targets that are constant here may vary elsewhere, and a filter of 0 is dead.
    return W * np.where(ratio > 0, ratio, 1.0) ** (1 / homogeneity)
