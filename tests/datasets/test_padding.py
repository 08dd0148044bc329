import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view

from skconvfilter import ConvFilterBankRegressor, ConvReLUFilterRegressor
from skconvfilter.datasets import pad_patches

FILTER = np.array([1.0, -2.0, 0.5, 0.3])


def make_signals(dtype=np.float64):
    """Signals of different lengths, some with missing values, and all their windows."""
    rng = np.random.default_rng(0)
    signals = [rng.standard_normal(rng.integers(20, 60)) for _ in range(300)]
    for signal in signals[::3]:
        signal[rng.integers(len(signal), size=2)] = np.nan
    return [sliding_window_view(signal.astype(dtype), 4) for signal in signals]


def mean_responses(windows, w, bias=0.0, slope=0.0):
    """Of the model itself, sample by sample."""
    values = []
    for patches in windows:
        responses = [
            patch @ w + bias for patch in patches.tolist() if not np.isnan(patch).any()
        ]
        values.append(np.mean([max(r, slope * r) for r in responses]))
    return np.array(values)


def test_the_model_is_that_of_the_patches_there_are():
    windows = make_signals()
    y = 3 + mean_responses(windows, FILTER)
    X = pad_patches(windows)
    assert X.shape == (300, max(map(len, windows)), 4)
    model = ConvReLUFilterRegressor(random_state=0, bias=False).fit(X, y)
    np.testing.assert_allclose(model.coef_, FILTER, rtol=1e-9)
    np.testing.assert_allclose(model.predict(X), y, rtol=1e-9)


@pytest.mark.parametrize(("activation", "slope"), [("relu", 0.0), ("leaky_relu", 0.01)])
def test_a_bias_is_the_weight_of_an_entry_of_the_patches(activation, slope):
    windows = make_signals()
    y = mean_responses(windows, FILTER, bias=-1.0, slope=slope)
    X = pad_patches([np.pad(w, ((0, 0), (0, 1)), constant_values=1) for w in windows])
    model = ConvFilterBankRegressor(
        1, activation=activation, bias=False, diagnostics=False, random_state=0
    )
    model.fit(X, y)
    assert model.score(X, y) > 1 - 1e-6
    np.testing.assert_allclose(np.abs(model.coef_[0, -1]), 1, rtol=1e-3)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, int])
def test_the_dtype_is_kept(dtype):
    X = pad_patches([np.ones((2, 3), dtype), np.ones((4, 3), dtype)])
    assert X.dtype == (np.float32 if dtype == np.float32 else np.float64)
    np.testing.assert_array_equal(X[0], np.repeat([[2.0] * 3, [0.0] * 3], 2, axis=0))


@pytest.mark.parametrize(
    ("patches", "message"),
    [
        ([], "at least one sample"),
        ([np.ones((2, 3)), np.ones((2, 4))], r"one length, got \[3, 4\]"),
        ([np.ones((2, 3)), np.ones(3)], r"patches\[1\] must have .* got \(3,\)"),
        ([np.ones((2, 3)), np.full((2, 3), np.nan)], r"patches\[1\] has no patch without"),
        ([np.ones((0, 3))], r"patches\[0\] has no patch"),
    ],
)
def test_what_cannot_be_used_is_refused(patches, message):
    with pytest.raises(ValueError, match=message):
        pad_patches(patches)
