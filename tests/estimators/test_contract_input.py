"""Data that cannot be used: errors that name the array and what it should be."""

from functools import cache

import numpy as np
import pandas as pd
import pytest
import scipy
import scipy.sparse as sp
from sklearn.exceptions import DataConversionWarning
from sklearn.utils.fixes import parse_version

from skconvfilter import ConvPatchExtractor
from tests.estimators.cases import GEOMETRY


class Lazy:
    """Has what one sees of a dask array; must never be loaded."""

    def __dask_graph__(self):
        return {}

    def __init__(self, shape):
        self.shape = shape
        self.ndim = len(shape)
        self.dtype = np.dtype(float)

    def __len__(self):
        return self.shape[0]

    def __array__(self, dtype=None, copy=None):
        raise AssertionError("the array has been loaded")


def with_entry(array, value):
    array = np.array(array, dtype=np.result_type(array, value))
    array[(1,) * array.ndim] = value
    return array


def with_missing(array):
    frame = pd.DataFrame(array).astype("Float64")
    frame.iloc[1, 0] = pd.NA
    return frame


def masked(array):
    return np.ma.masked_array(array, mask=np.zeros(np.shape(array), dtype=bool))


def sparse(array):
    if array.ndim > 2 and parse_version(scipy.__version__) < parse_version("1.15"):
        pytest.skip("SciPy has sparse arrays of three axes from 1.15 on")
    return sp.coo_array(array)


def as_matrix(array):
    return np.asarray(array).view(np.matrix)


def table(cases):
    """Parametrisation by a table of name: (change, error, message)."""
    return pytest.mark.parametrize(
        ("change", "error", "message"), cases.values(), ids=cases.keys()
    )


def methods(case):
    """Ways to fit."""
    return ["fit"] if case.is_bank else ["fit", "partial_fit"]


@cache
def fitted(case, form):
    """An estimator that is asked to predict for bad samples; not to be changed."""
    data = case.data().take(50)
    return case.make_for(form, n_init=1).fit(getattr(data, form), data.y)


# Samples ----------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["X", "patches", "windows"])
@table(
    {
        "NaN": (lambda X: with_entry(X, np.nan), ValueError, "Input X contains NaN"),
        "infinity": (lambda X: with_entry(X, np.inf), ValueError, "X contains inf"),
        "complex": (lambda X: with_entry(X, 1j), ValueError, "Complex data"),
        "strings": (lambda X: np.full(X.shape, "pixel"), ValueError, "string"),
        "masked": (masked, TypeError, r"X is a masked array.*X\.filled\(value\)"),
        "lazy": (lambda X: Lazy(X.shape), TypeError, r"X is a dask .*X\.compute\(\)"),
        "sparse": (sparse, TypeError, "toarray"),
        "no samples": (lambda X: X[:0], ValueError, "sample"),
    }
)
def test_samples_are_refused_in_every_form(form, change, error, message, case):
    data = case.data().take(50)
    X, model = getattr(data, form), case.make_for(form, n_init=1)
    bad = change(X)
    for method in methods(case):
        with pytest.raises(error, match=message):
            getattr(model, method)(bad, data.y)
    model = fitted(case, form)
    for use in (model.predict, model.feature_map):
        with pytest.raises(error, match=message):
            use(bad)


@table(
    {
        "one sample": (lambda X: X[0], ValueError, "Reshape your data"),
        "one number": (lambda X: X[0, 0], ValueError, "scalar array"),
        "no features": (lambda X: X[:, :0], ValueError, r"0 feature\(s\).*shape=\(50, 0\)"),
        "other images": (
            lambda X: X.reshape(50, 6, 4),
            ValueError,
            r"shape \(6, 4\), but input_shape=\(4, 6\).*X\.reshape\(len\(X\), -1\)",
        ),
        "ragged": (
            lambda X: [r[: 20 + i % 2] for i, r in enumerate(X)],
            ValueError,
            "X .* different lengths.*Pad",
        ),
        "matrix": (as_matrix, TypeError, "np.matrix is not supported"),
        "dicts": (
            lambda X: [[{}] * 24] * 50,
            TypeError,
            "argument must be .* string.* num",
        ),
        "missing value": (with_missing, ValueError, "Input X contains NaN"),
        "longer rows": (lambda X: np.ones((50, 25)), ValueError, "25"),
    }
)
def test_flat_samples_are_refused(change, error, message, case):
    data = case.data().take(50)
    X, extractor = change(data.X), ConvPatchExtractor(**GEOMETRY)
    with pytest.raises(error, match=message):
        case.make().fit(X, data.y)
    with pytest.raises(error, match=message):
        extractor.fit(X)
    with pytest.raises(error, match=message):
        fitted(case, "X").predict(X)
    with pytest.raises(error, match=message):
        extractor.fit(data.X).transform(X)


@table(
    {
        "no patches": (
            lambda X: X[:, :0],
            ValueError,
            r"\(50, 0, 4\).*at least one .* patch",
        ),
        "empty patches": (lambda X: X[:, :, :0], ValueError, r"\(50, 6, 0\).*patch_dim"),
        "4-D": (
            lambda X: X.reshape(50, 2, 3, 4),
            ValueError,
            r"\(50, 2, 3, 4\).*ConvPatchE",
        ),
        "ragged": (lambda X: [[[1.0, 2.0], [3.0]]] * 50, ValueError, "inhomogeneous"),
        "of different number": (
            lambda X: [np.ones((2 + i % 2, 4)) for i in range(50)],
            ValueError,
            "inhomogen",
        ),
        "complex objects": (lambda X: X.astype(object) + 1j, TypeError, "complex"),
    }
)
def test_patches_are_refused(change, error, message, case):
    data = case.data().take(50)
    X = change(data.patches)
    with pytest.raises(error, match=message):
        case.make_for_patches().fit(X, data.y)
    with pytest.raises(error, match=message):
        fitted(case, "patches").predict(X)


def test_patches_of_another_length_are_refused(case):
    data = case.data().take(50)
    model = case.make_for_patches(n_init=1).fit(data.patches, data.y)
    uses = [model.predict, model.feature_map]
    if not case.is_bank:
        uses.append(lambda X: model.partial_fit(X, data.y))
    for use in uses:
        with pytest.raises(ValueError, match=r"patch_dim=3 .* fitted with patch_dim=4"):
            use(data.patches[:, :, :3])
        with pytest.raises(ValueError, match=r"patch_dim=1 .* fitted with patch_dim=4"):
            use(data.windows[..., :1, :1])
        with pytest.raises(ValueError, match=r"X has 3 features, but .* expecting 4 feat"):
            use(data.patches[:, 0, :3])
    model = case.make(n_init=1).fit(data.X, data.y)
    with pytest.raises(ValueError, match=r"shape \(6, 4\), but input_shape=\(4, 6\)"):
        model.predict(data.patches)


def test_numbers_as_strings_are_read_in_samples_and_refused_in_targets(case):
    data = case.data().take(50)
    strings = data.X.astype(str)
    expected = case.make(n_init=1).fit(data.X, data.y)
    model = case.make(n_init=1).fit(strings, data.y)
    np.testing.assert_array_equal(model.predict(strings), expected.predict(data.X))
    with pytest.raises(ValueError, match="y holds strings"):
        model.fit(data.X, data.y.astype(str))


# Targets and weights ----------------------------------------------------------------------


@table(
    {
        "None": (
            lambda y: None,
            ValueError,
            "requires y to be passed, but the target y is",
        ),
        "NaN": (lambda y: with_entry(y, np.nan), ValueError, "Input y contains NaN"),
        "infinity": (lambda y: with_entry(y, -np.inf), ValueError, "Input y contains inf"),
        "missing": (lambda y: with_missing(y)[0], ValueError, "Input y contains NaN"),
        "complex": (lambda y: y + 1j, ValueError, "Complex data"),
        "strings": (
            lambda y: y.astype(str),
            ValueError,
            "y holds strings; it must hold num",
        ),
        "bytes": (lambda y: y.astype(bytes), ValueError, "y holds strings"),
        "string objects": (
            lambda y: y.astype(str).astype(object),
            ValueError,
            "y holds str",
        ),
        "string series": (
            lambda y: pd.Series(y.astype(str)),
            ValueError,
            "y holds strings",
        ),
        "too few": (
            lambda y: y[:20],
            ValueError,
            "inconsistent numbers of samples.*50, 20",
        ),
        "none": (lambda y: y[:0], ValueError, r"0 sample\(s\)"),
        "two columns": (
            lambda y: np.column_stack([y, y]),
            ValueError,
            r"1d array.*\(50, 2\).*MultiOutputRegressor",
        ),
        "one number": (lambda y: y[0], TypeError, "at least 1 dimension.*got scalar"),
        "ragged": (
            lambda y: [[v] * (1 + i % 2) for i, v in enumerate(y)],
            ValueError,
            "inho",
        ),
        "masked": (masked, TypeError, r"y is a masked array.*y\.filled\(value\)"),
        "matrix": (as_matrix, TypeError, "np.matrix is not supported"),
        "sparse": (lambda y: sp.csr_array(y[:, np.newaxis]), TypeError, "[Ss]parse"),
    }
)
def test_targets_are_refused(change, error, message, case):
    data = case.data().take(50)
    for method in methods(case):
        with pytest.raises(error, match=message):
            getattr(case.make(), method)(data.X, change(data.y))


def test_targets_in_a_column_are_taken_with_a_warning(case):
    data = case.data().take(50)
    with pytest.warns(DataConversionWarning, match="column-vector y was passed"):
        model = case.make(n_init=1).fit(data.X, data.y[:, np.newaxis])
    expected = case.make(n_init=1).fit(data.X, data.y)
    np.testing.assert_array_equal(model.coef_, expected.coef_)


@table(
    {
        "zero": (lambda w: 0 * w, ValueError, "sample_weight: all weights are zero"),
        "zero number": (lambda w: 0.0, ValueError, "sample_weight: all weights are zero"),
        "negative": (
            lambda w: with_entry(w, -1.0),
            ValueError,
            "Negative values in .*sample",
        ),
        "negative number": (
            lambda w: -1.0,
            ValueError,
            "Negative values in .*sample_weight",
        ),
        "NaN": (lambda w: with_entry(w, np.nan), ValueError, "sample_weight contains NaN"),
        "NaN number": (lambda w: np.nan, ValueError, "sample_weight contains NaN"),
        "infinity": (
            lambda w: with_entry(w, np.inf),
            ValueError,
            "sample_weight contains i",
        ),
        "complex": (lambda w: w + 1j, ValueError, "Complex data"),
        "column": (
            lambda w: w[:, np.newaxis],
            ValueError,
            r"sample_weight.*\(50, 1\).*\(50,",
        ),
        "too few": (
            lambda w: w[:9],
            ValueError,
            r"sample_weight has shape \(9,\).*\(50,\)",
        ),
        "masked": (masked, TypeError, "sample_weight is a masked array"),
        "matrix": (as_matrix, TypeError, "np.matrix is not supported"),
    }
)
def test_weights_are_refused(change, error, message, case):
    data, weights = case.data().take(50), change(np.ones(50))
    for method in methods(case):
        with pytest.raises(error, match=message):
            getattr(case.make(), method)(data.X, data.y, sample_weight=weights)


@pytest.mark.parametrize("n_samples", [1, 2])
def test_too_few_samples_to_hold_some_out(n_samples, case):
    data = case.data().take(n_samples)
    model = case.make(early_stopping=True, validation_fraction=0.9)
    with pytest.raises(ValueError, match=r"validation_fraction=0\.9 .*n_samples="):
        model.fit(data.X, data.y)


# Range ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "scale", "limits"),
    [
        (np.float64, 1e80, "1e-60 to 1e"),
        (np.float64, 1e-80, "1e-60 to 1e"),
        (np.float32, 1e25, "1e-15 to 1e"),
        (np.float32, 1e-25, "1e-15 to 1e"),
    ],
)
@pytest.mark.parametrize("form", ["X", "windows"])
def test_samples_out_of_range_are_refused(form, dtype, scale, limits, case):
    data = case.data().take(50)
    X = (scale * getattr(data, form)).astype(dtype)
    for method in methods(case):
        with pytest.raises(ValueError, match=f"entry of X is .*{limits}.*Rescale X"):
            getattr(case.make_for(form), method)(X, data.y)


@pytest.mark.parametrize("scale", [1e80, 1e-80])
def test_targets_out_of_range_are_refused(scale, case):
    data = case.data().take(50)
    for method in methods(case):
        with pytest.raises(ValueError, match=r"entry of y is .*1e-60 to 1e.*Rescale y"):
            getattr(case.make(), method)(data.X, scale * data.y)


def test_filters_beyond_single_precision_are_refused(case):
    data = case.data().take(50)
    message = r"exceeds the range of float32.*Rescale"
    with pytest.raises(ValueError, match=message):
        case.make().fit(data.X.astype(np.float32), 1e50 * data.y)
