"""Samples in coordinates where their patches are white, read a chunk at a time."""

from collections.abc import Callable, Iterator

import numpy as np

from skconvfilter.kernels.layout import FloatArray
from skconvfilter.model.squared_error import Array

# Numbers that are made of a chunk's patches at a time: they stay in the second-level cache.
_CHUNK_ELEMENTS = 2**17


class WhiteSamples:
    """Weighted samples with patches ``x = (z - mean) B`` of mean 0 and covariance I.

    Mean and covariance are those of all patches together. A direction in which patches do
    not vary is dropped, so that a white patch may be shorter than a patch.

    Parameters
    ----------
    blocks : callable
        Returns a fresh iterator over arrays (n_block, n_patches, patch_dim), float32 or
        float64, that hold the samples in order. Apart from them, memory is needed for a
        chunk of patches only.
    targets : ndarray of shape (n_samples,)
    weights : ndarray of shape (n_samples,)
        Not negative, and not all 0.

    Attributes
    ----------
    weights : ndarray of shape (n_samples,)
        As given, but of sum 1.
    targets : ndarray of shape (n_samples,), float64
        Minus their weighted mean.
    variance : float
        Weighted mean of their squares.
    precision : float
        Machine precision of the patches.
    n_patches, patch_dim, rank : int
        Patches of a sample, length of a patch and of a white one.
    basis : ndarray of shape (patch_dim, rank)
        The matrix B.
    mean : ndarray of shape (rank,)
        ``B' mean``, so that a filter ``B u`` has the preactivation ``u . (x + B' mean)``.
    first : ndarray of shape (rank,)
        First moment of the targets, the weighted mean of ``y x`` over all patches.
    """

    def __init__(
        self, blocks: Callable[[], Iterator[FloatArray]], targets: Array, weights: Array
    ) -> None:
        self.weights: Array = weights / weights.sum()
        self.targets: Array = targets - self.weights @ targets
        self.variance: float = float(self.weights @ self.targets**2)
        self._blocks = blocks
        start = next(iter(blocks()))
        self.n_patches: int = start.shape[1]
        self.patch_dim: int = start.shape[2]
        self.precision: float = float(np.finfo(start.dtype).eps)
        # A place amidst the patches, so that a mean far from 0 costs no digits.
        place = start.mean(axis=(0, 1), dtype=np.float64)
        sums, squares, squares_of_sums, products = self._scatters(place)
        mean = sums / self.n_patches
        covariance = squares / self.n_patches - np.outer(mean, mean)
        self.basis: Array = _inverse_root(covariance, self.precision)
        self.rank: int = self.basis.shape[1]
        self.mean: Array = self.basis.T @ (place + mean)
        self.first: Array = self.basis.T @ products / self.n_patches
        covariance_of_sums = squares_of_sums - np.outer(sums, sums)
        # Independent white patches have sums of variance n_patches; compared with that,
        # sums that are all but equal vary by rounding only, and explain nothing.
        self._root_of_sums = _inverse_root(
            self.basis.T @ covariance_of_sums @ self.basis, self.precision, self.n_patches
        )

    def chunks(self, width: int) -> Iterator[tuple[slice, Array]]:
        """White patches, as many at a time as leave room for `width` numbers of each.

        Yields
        ------
        rows : slice
            The samples that come next.
        X : ndarray of shape (rank, n_rows, n_patches)
        """
        offsets = self.mean[:, np.newaxis]
        for rows, patches in self._rows(max(width, self.patch_dim)):
            X = np.subtract((patches @ self.basis).T, offsets, order="C")
            yield rows, X.reshape(self.rank, -1, self.n_patches)

    def regress(self, moment: Array) -> Array:
        """Coefficients b (rank,) of the least-squares fit ``b . (sum of x)``.

        Parameters
        ----------
        moment : ndarray of shape (rank,)
            First moment of what is to be fitted.
        """
        root = self._root_of_sums
        return root @ (root.T @ (moment * self.n_patches))

    def _scatters(self, place: Array) -> tuple[Array, Array, Array, Array]:
        """Weighted means of sums over patches about a place.

        Of z, of zz', and with the sum s of a sample's z: of ss' and y s.
        """
        sums, products = np.zeros((2, self.patch_dim))
        squares, squares_of_sums = np.zeros((2, self.patch_dim, self.patch_dim))
        for rows, patches in self._rows(self.patch_dim):
            weights = self.weights[rows]
            patches = patches - place
            sample_sums = patches.reshape(len(weights), self.n_patches, -1).sum(axis=1)
            weighted_sums = weights[:, np.newaxis] * sample_sums
            sums += weighted_sums.sum(axis=0)
            products += self.targets[rows] @ weighted_sums
            squares_of_sums += sample_sums.T @ weighted_sums
            patch_weights = np.repeat(weights, self.n_patches)[:, np.newaxis]
            squares += patches.T @ (patch_weights * patches)
        return sums, squares, squares_of_sums, products

    def _rows(self, width: int) -> Iterator[tuple[slice, Array]]:
        """Samples that come next, and their patches (n_rows n_patches, patch_dim)."""
        n_rows = max(1, _CHUNK_ELEMENTS // (width * self.n_patches))
        start = 0
        for block in self._blocks():
            for i in range(0, len(block), n_rows):
                patches = np.asarray(block[i : i + n_rows], dtype=np.float64)
                rows = slice(start, start + len(patches))
                yield rows, patches.reshape(-1, self.patch_dim)
                start = rows.stop


def _inverse_root(covariance: Array, precision: float, scale: float = 0.0) -> Array:
    """The R with ``R R'`` the inverse, in directions that vary by more than rounding.

    Rounding is that of the largest variance, or of `scale` if that is larger.
    """
    values, vectors = np.linalg.eigh(covariance)
    varies = values > len(values) * precision * values.max(initial=scale)
    return vectors[:, varies] / np.sqrt(values[varies])
