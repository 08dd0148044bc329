"""Fits of samples that are mapped to a file: the same result, and no copy of them."""

import tracemalloc

import numpy as np
import pytest

from skconvfilter import ConvPatchExtractor, ConvReLUFilterRegressor
from tests.estimators.cases import BANK, DIGITS, distance


@pytest.fixture
def mapped(tmp_path):
    """Saves an array to a file and maps it."""

    def save(array):
        np.save(tmp_path / "X.npy", array)
        return np.load(tmp_path / "X.npy", mmap_mode="r")

    return save


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dtype", "params"),
    [
        (np.float32, {}),
        (np.float64, {}),
        (np.float64, {"fit_intercept": False, "learning_rate": "theory"}),
        (np.float64, {"solver": "levenberg-marquardt", "n_jobs": 2}),
        (np.float32, {"polish": False, "max_iter": 6, "tol": 0, "n_iter_no_change": 9}),
        (np.float64, {"early_stopping": True}),
    ],
    ids=["float32", "float64", "theory", "levenberg-marquardt", "sgd", "early stopping"],
)
@pytest.mark.filterwarnings("ignore:The best restart", "ignore:learning_rate='theory'")
def test_the_fit_is_that_of_the_mapped_array(dtype, params, all_digits, make_model, mapped):
    X, y = all_digits.X.astype(dtype), all_digits.y
    there, here = (make_model(n_init=2, **params).fit(X, y) for X in (mapped(X), X))
    assert there.coef_.dtype == dtype
    rtol = 1e-9 if dtype == np.float64 else 1e-4
    np.testing.assert_allclose(there.coef_, here.coef_, rtol=rtol)
    np.testing.assert_allclose(there.predict(mapped(X)), here.predict(X), rtol=rtol)
    assert there.n_iter_ == here.n_iter_
    assert there.gamma_ == pytest.approx(here.gamma_)


def test_patches_and_weights(all_digits, mapped):
    X, y = all_digits.patches, all_digits.y + np.sin(np.arange(1797))
    weights = np.arange(1797) % 4 * 0.5
    there, here = (
        ConvReLUFilterRegressor(random_state=0, n_init=2).fit(X, y, weights)
        for X in (mapped(X), X)
    )
    np.testing.assert_allclose(there.coef_, here.coef_, rtol=1e-9)
    assert there.n_samples_seen_ == here.n_samples_seen_ == np.count_nonzero(weights)
    np.testing.assert_array_equal(there.feature_map(mapped(X)), there.feature_map(X))


@pytest.mark.slow
@pytest.mark.parametrize("weighted", [False, True])
def test_memory_is_for_blocks_only(weighted, make_model, mapped):
    images = np.random.default_rng(0).integers(0, 255, (30_000, 256), dtype=np.uint8)
    X, y = mapped(images), images[:, 17].astype(float)
    model = make_model(
        input_shape=(16, 16), stride=3, n_init=4, tol=0.5, n_iter_no_change=1
    )
    model.set_params(early_stopping=True, diagnostics=False)
    # What is loaded late.
    model.fit(X[:500], y[:500])
    tracemalloc.start()
    try:
        model.fit(X, y, np.arange(len(X)) % 5 if weighted else None).predict(X)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # As float64 they would be eight times the file; blocks and the subsample are not.
    assert peak < 2 * X.nbytes


@pytest.mark.parametrize(
    ("value", "message"),
    [(np.nan, "X contains NaN in block 1, rows 512 to 1023"), (1j, "Complex data")],
)
@pytest.mark.parametrize("form", ["X", "patches"])
def test_numbers_that_cannot_be_used(form, value, message, all_digits, make_model, mapped):
    quick = {"n_init": 1, "diagnostics": False, "random_state": 0}
    model = (make_model if form == "X" else ConvReLUFilterRegressor)(**quick)
    model.fit(getattr(all_digits, form)[:200], all_digits.y[:200])
    before = vars(model).copy()
    X = getattr(all_digits, form).astype(np.result_type(value, float))
    X[700] = value
    X = mapped(X)
    with pytest.raises(ValueError, match=message):
        model.fit(X, all_digits.y)
    with pytest.raises(ValueError, match=message.partition(" in block")[0]):
        model.predict(X)
    assert vars(model) == before


def test_a_stream_and_an_extractor_take_mapped_samples(digits, make_model, mapped):
    X, y, model = digits.X, digits.y, make_model(n_init=2)
    expected = model.fit(X, y).partial_fit(X, y).coef_
    np.testing.assert_array_equal(model.fit(X, y).partial_fit(mapped(X), y).coef_, expected)
    patches = ConvPatchExtractor(**DIGITS).fit_transform(mapped(X))
    assert patches.shape == (300, 6, 6, 3, 3)


def test_a_bank(mapped):
    # More samples than starts are compared on.
    data = BANK.data(12_000, snr=np.inf)
    there, here = (BANK.make().fit(X, data.y) for X in (mapped(data.X), data.X))
    assert distance(there.coef_, here.coef_) < 1e-9
    np.testing.assert_allclose(there.predict(mapped(data.X)), data.y, atol=1e-6)
