import numpy as np
import pytest

from skconvfilter.initializers.whitening import WhiteSamples


def make_patches(n_samples=400, n_patches=3, patch_dim=4, *, mean=0.0):
    rng = np.random.default_rng(0)
    root = rng.standard_normal((patch_dim, patch_dim))
    return rng.standard_normal((n_samples, n_patches, patch_dim)) @ root + mean


def white(patches, targets=None, weights=None, cuts=()):
    n_samples = len(patches)
    targets = np.zeros(n_samples) if targets is None else targets
    weights = np.ones(n_samples) if weights is None else weights
    return WhiteSamples(lambda: iter(np.split(patches, cuts)), targets, weights)


def all_patches(samples, width=1):
    """White patches of all samples, (n_samples, n_patches, rank)."""
    chunks = list(samples.chunks(width))
    starts = [rows.start for rows, _ in chunks]
    assert starts == [0, *(rows.stop for rows, _ in chunks)][:-1]
    return np.concatenate([X.transpose(1, 2, 0) for _, X in chunks])


@pytest.mark.parametrize("mean", [0.0, 1e6])
def test_patches_are_white(mean):
    patches = make_patches(mean=mean)
    weights = np.random.default_rng(1).uniform(0, 3, len(patches))
    samples = white(patches, weights=weights)
    shares = np.repeat(samples.weights, 3) / 3
    flat = all_patches(samples).reshape(-1, samples.rank)
    np.testing.assert_allclose(shares @ flat, 0, atol=1e-9)
    covariance = flat.T @ (shares[:, np.newaxis] * flat)
    np.testing.assert_allclose(covariance, np.eye(4), atol=1e-9)


def test_preactivations_are_the_same_in_both_coordinates():
    patches, u = make_patches(mean=2.0), np.array([1.0, -2.0, 0.5, 3.0])
    samples = white(patches)
    white_patches = all_patches(samples) + samples.mean
    expected = patches @ (samples.basis @ u)
    np.testing.assert_allclose(white_patches @ u, expected, atol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_directions_without_variation_are_dropped(dtype):
    patches = make_patches(patch_dim=3)
    wide = np.concatenate([patches, patches[..., :1] - patches[..., 1:2]], axis=2)
    wide = np.concatenate([wide, np.full((400, 3, 1), 7.0)], axis=2).astype(dtype)
    samples = white(wide)
    assert (samples.patch_dim, samples.rank, samples.basis.shape) == (5, 3, (5, 3))
    flat = all_patches(samples).reshape(-1, 3)
    np.testing.assert_allclose(flat.T @ flat / len(flat), np.eye(3), atol=1e-5)
    assert white(np.ones((5, 2, 3))).rank == 0


def test_blocks_and_chunks_make_no_difference():
    patches = make_patches(n_samples=5000)
    y = np.random.default_rng(1).standard_normal(5000)
    whole, cut = white(patches, y), white(patches, y, cuts=[1, 1, 700, 4999])
    signs = np.sign(np.sum(whole.basis * cut.basis, axis=0))
    np.testing.assert_allclose(cut.basis, whole.basis * signs, rtol=1e-9)
    np.testing.assert_allclose(cut.first, whole.first * signs, rtol=1e-9, atol=1e-14)
    narrow, wide = all_patches(whole, width=1), all_patches(cut, width=1000)
    np.testing.assert_allclose(wide, narrow * signs, atol=1e-9)
    rows = [rows.stop - rows.start for rows, _ in whole.chunks(100)]
    assert max(rows) * 3 * 100 <= 2**17
    assert sum(rows) == 5000


def test_integer_weights_are_repetitions():
    patches, rng = make_patches(), np.random.default_rng(2)
    y, weights = rng.standard_normal(400), rng.integers(0, 4, 400)
    weighted = white(patches, y, weights.astype(float))
    repeated = white(np.repeat(patches, weights, axis=0), np.repeat(y, weights))
    signs = np.sign(np.sum(weighted.basis * repeated.basis, axis=0))
    np.testing.assert_allclose(repeated.basis * signs, weighted.basis, rtol=1e-9)
    np.testing.assert_allclose(repeated.first * signs, weighted.first, atol=1e-12)
    assert repeated.variance == pytest.approx(weighted.variance)


def test_regression_on_sums_of_patches():
    patches, rng = make_patches(mean=3.0), np.random.default_rng(3)
    y = patches.sum(axis=1) @ [1.0, 2.0, -1.0, 0.5] + rng.standard_normal(400)
    weights = rng.uniform(0, 3, 400)
    samples = white(patches, y, weights)
    sums = all_patches(samples).sum(axis=1)
    root = np.sqrt(weights)[:, np.newaxis]
    wanted = np.linalg.lstsq(root * sums, root[:, 0] * samples.targets)[0]
    np.testing.assert_allclose(samples.regress(samples.first), wanted, rtol=1e-9)


@pytest.mark.parametrize("total", [0.0, 0.1], ids=["exactly", "but for rounding"])
def test_regression_where_sums_do_not_vary(total):
    # The patches of all samples sum up to the same: there is nothing to regress on.
    half = make_patches(n_patches=1)
    samples = white(np.concatenate([half, total - half], axis=1), half[:, 0, 0])
    np.testing.assert_allclose(samples.regress(samples.first), 0, atol=1e-9)
