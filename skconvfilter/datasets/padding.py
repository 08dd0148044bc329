"""Samples that have different numbers of patches, as one array."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skconvfilter.kernels.layout import FloatArray


def pad_patches(patches: Sequence[ArrayLike]) -> FloatArray:
    r"""Stack samples with different numbers of patches in one array, for a ReLU filter.

    A ReLU is positively homogeneous. If the :math:`k` patches of a sample are multiplied by
    :math:`K / k`, and zeros are appended up to :math:`K` patches, the mean response of any
    filter stays the same:

    .. math::

        \frac{1}{K} \Big( \sum_{i=1}^k \mathrm{relu}\big(w \cdot \tfrac{K}{k} Z_i\big)
        + \sum_{i=k+1}^K \mathrm{relu}(w \cdot 0) \Big)
        = \frac{1}{k} \sum_{i=1}^k \mathrm{relu}(w \cdot Z_i) .

    Patches that contain NaN are left out, so images may have missing pixels.

    Parameters
    ----------
    patches : sequence of array-like of shape (n_patches, patch_dim)
        The patches of each sample. Their number may differ between samples, their length
        must not.

    Returns
    -------
    X : ndarray of shape (n_samples, max_patches, patch_dim), float64
        The array, for a fit with ``kernel_size=None``; float32 if all samples are float32.

    Raises
    ------
    ValueError
        For no samples, patches of different lengths, or a sample without a patch.

    See Also
    --------
    skconvfilter.ConvPatchExtractor : Extracts the patches of samples of the same shape.

    Notes
    -----
    The array is for models with the mean over positions, a ReLU or leaky ReLU, and
    ``bias=False``. A bias would also be added to the zeros, and it would not be multiplied
    like the patches. To fit a bias, append an entry of 1 to every patch before the call;
    the last weight of a filter is then its bias.

    Examples
    --------
    Signals of different lengths, with a missing value:

    >>> import numpy as np
    >>> from skconvfilter import ConvReLUFilterRegressor
    >>> from skconvfilter.datasets import pad_patches
    >>> rng = np.random.default_rng(0)
    >>> signals = [rng.standard_normal(rng.integers(30, 60)) for _ in range(200)]
    >>> signals[0][10] = np.nan
    >>> X = pad_patches(
    ...     [np.lib.stride_tricks.sliding_window_view(signal, 3) for signal in signals]
    ... )
    >>> X.shape
    (200, 57, 3)
    >>> filter_ = np.array([1.0, -2.0, 0.5])
    >>> y = np.maximum(X @ filter_, 0).mean(axis=1)
    >>> model = ConvReLUFilterRegressor(random_state=0, bias=False).fit(X, y)
    >>> bool(np.allclose(model.coef_, filter_))
    True
    """
    samples = [_complete(i, sample) for i, sample in enumerate(patches)]
    if not samples:
        raise ValueError("patches must hold at least one sample.")
    lengths = {sample.shape[1] for sample in samples}
    if len(lengths) > 1:
        raise ValueError(f"patches must all have one length, got {sorted(lengths)}.")
    n_patches = max(map(len, samples))
    shape = (len(samples), n_patches, lengths.pop())
    X = np.zeros(shape, dtype=np.result_type(*samples))
    for row, sample in zip(X, samples, strict=True):
        row[: len(sample)] = sample * (n_patches / len(sample))
    return X


def _complete(i: int, sample: ArrayLike) -> NDArray[np.floating[Any]]:
    """The patches of a sample that have no NaN."""
    array = np.asarray(sample)
    if array.dtype != np.float32:
        array = array.astype(np.float64)
    if array.ndim != 2:
        raise ValueError(
            f"patches[{i}] must have shape (n_patches, patch_dim), got {array.shape}."
        )
    array = array[~np.isnan(array).any(axis=1)]
    if not array.size:
        raise ValueError(
            f"patches[{i}] has no patch without NaN: leave this sample out, or use a "
            "smaller window."
        )
    return array
