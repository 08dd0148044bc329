"""Data that cannot be used: errors that name the array and what it should be."""

import re

import numpy as np
import pandas as pd
import pytest
import scipy
import scipy.sparse as sp
from sklearn.exceptions import DataConversionWarning
from sklearn.utils.fixes import parse_version

from skconvfilter import ConvPatchExtractor

# Ways to hand the same samples over: attribute of the problem, model that takes it.
FORMS = {"rows": "X", "patches": "patches", "windows": "windows"}


class Lazy:
    """Has what one sees of a dask array; must never be loaded."""

    __dask_graph__ = None

    def __init__(self, shape):
        self.shape = shape
        self.ndim = len(shape)
        self.dtype = np.dtype(float)

    def __len__(self):
        return self.shape[0]

    def __array__(self, dtype=None, copy=None):
        raise AssertionError("the array has been loaded")


@pytest.fixture
def problem(digits):
    return digits.take(40)


@pytest.fixture
def extractor():
    return ConvPatchExtractor(3, input_shape=(8, 8))


@pytest.fixture(params=FORMS)
def model_and_X(request, problem, make_model, make_patch_model):
    """An unfitted model and samples in each form that it takes."""
    make = make_model if request.param == "rows" else make_patch_model
    return make(), getattr(problem, FORMS[request.param])


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


@pytest.mark.parametrize(
    ("value", "message"),
    [(np.nan, "Input X contains NaN"), (np.inf, "X contains inf"), (1j, "Complex data")],
)
def test_samples_must_be_finite_reals(value, message, model_and_X, problem):
    model, X = model_and_X
    with pytest.raises(ValueError, match=message):
        model.fit(with_entry(X, value), problem.y)
    model.fit(X, problem.y)
    with pytest.raises(ValueError, match=message):
        model.predict(with_entry(X, value))
    with pytest.raises(ValueError, match=message):
        model.feature_map(with_entry(X, value))


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (masked, TypeError, r"X is a masked array.*X\.filled\(value\)"),
        (lambda X: Lazy(X.shape), TypeError, r"X is a dask .*X\.compute\(\)"),
        (lambda X: X[:0], ValueError, "sample"),
        (lambda X: X[:20], ValueError, "inconsistent numbers of samples.*20, 40"),
        (lambda X: np.full(X.shape, "pixel"), ValueError, "string"),
    ],
    ids=["masked", "lazy", "no samples", "too few samples", "strings"],
)
def test_samples_are_refused_in_every_form(
    method, change, error, message, model_and_X, problem
):
    model, X = model_and_X
    with pytest.raises(error, match=message):
        getattr(model, method)(change(X), problem.y)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda X: X[0], ValueError, "Reshape your data"),
        (lambda X: X[0, 0], ValueError, "scalar array"),
        (lambda X: X[:, :0], ValueError, r"0 feature\(s\).*shape=\(40, 0\)"),
        (lambda X: X.reshape(40, 8, 8), ValueError, r"X\.reshape\(len\(X\), -1\)"),
        (lambda X: [row[: 60 + i % 2] for i, row in enumerate(X)], ValueError, "shape"),
        (as_matrix, TypeError, "np.matrix is not supported"),
        (sp.csr_array, TypeError, "toarray"),
        (lambda X: [[{}] * 64] * 40, TypeError, "argument must be .* string.* number"),
        (with_missing, ValueError, "Input X contains NaN"),
    ],
    ids=[
        "one sample",
        "one number",
        "no features",
        "images",
        "ragged",
        "matrix",
        "sparse",
        "dicts",
        "missing value",
    ],
)
def test_flat_samples_are_refused(change, error, message, problem, make_model, extractor):
    X = change(problem.X)
    with pytest.raises(error, match=message):
        make_model().fit(X, problem.y)
    with pytest.raises(error, match=message):
        extractor.fit(X)
    fitted = make_model().fit(problem.X, problem.y)
    with pytest.raises(error, match=message):
        fitted.predict(X)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda X: X[:, :0], ValueError, r"\(40, 0, 9\).*at least one .* patch"),
        (lambda X: X[:, :, :0], ValueError, r"\(40, 36, 0\).*patch_dim"),
        (lambda X: X.reshape(40, 6, 6, 9), ValueError, r"\(40, 6, 6, 9\).*ConvPatchExtra"),
        (lambda X: [[[1.0, 2.0], [3.0]]] * 40, ValueError, "inhomogeneous"),
        (lambda X: [np.ones((2 + i % 2, 9)) for i in range(40)], ValueError, "inhomogen"),
        (sparse, TypeError, r"X\.toarray\(\)"),
        (lambda X: X.astype(object) + 1j, TypeError, "complex"),
    ],
    ids=[
        "no patches",
        "empty patches",
        "4-D",
        "ragged patches",
        "patches of different number",
        "sparse",
        "complex objects",
    ],
)
def test_patches_are_refused(change, error, message, problem, make_patch_model):
    X = change(problem.patches)
    with pytest.raises(error, match=message):
        make_patch_model().fit(X, problem.y)
    fitted = make_patch_model().fit(problem.patches, problem.y)
    with pytest.raises(error, match=message):
        fitted.predict(X)


@pytest.mark.parametrize("form", ["patches", "windows"])
def test_patches_are_refused_where_a_window_is_given(form, problem, make_model):
    shape = re.escape(str(getattr(problem, form).shape))
    with pytest.raises(ValueError, match=f"X has shape {shape}, expected .*n_features"):
        make_model().fit(getattr(problem, form), problem.y)


@pytest.mark.parametrize("method", ["predict", "feature_map"])
def test_patches_of_another_length_are_refused(method, problem, make_patch_model):
    model = make_patch_model().fit(problem.patches, problem.y)
    use = getattr(model, method)
    with pytest.raises(ValueError, match=r"patch_dim=8 .* fitted with patch_dim=9"):
        use(problem.patches[:, :, :8])
    with pytest.raises(ValueError, match=r"patch_dim=4 .* fitted with patch_dim=9"):
        use(problem.windows[..., :2, :2])
    with pytest.raises(ValueError, match=r"X has 8 features, but .* expecting 9 features"):
        use(problem.patches[:, 0, :8])


def test_rows_of_another_length_are_refused(problem, make_model, extractor):
    message = "X has 65 features, but .* expecting 64 features"
    X = np.ones((3, 65))
    with pytest.raises(ValueError, match=message):
        make_model().fit(problem.X, problem.y).predict(X)
    with pytest.raises(ValueError, match=message):
        extractor.fit(problem.X).transform(X)


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda y: None, ValueError, "requires y to be passed, but the target y is None"),
        (lambda y: with_entry(y, np.nan), ValueError, "Input y contains NaN"),
        (lambda y: with_entry(y, -np.inf), ValueError, "Input y contains inf"),
        (lambda y: with_missing(y)[0], ValueError, "Input y contains NaN"),
        (lambda y: y + 1j, ValueError, "Complex data"),
        (lambda y: y.astype(str), ValueError, "y holds strings; it must hold numbers"),
        (lambda y: y.astype(bytes), ValueError, "y holds strings"),
        (lambda y: y.astype(str).astype(object), ValueError, "y holds strings"),
        (lambda y: pd.Series(y.astype(str)), ValueError, "y holds strings"),
        (lambda y: y[:20], ValueError, "inconsistent numbers of samples.*40, 20"),
        (lambda y: y[:0], ValueError, r"0 sample\(s\)"),
        (lambda y: np.column_stack([y, y]), ValueError, r"1d array.*\(40, 2\)"),
        (lambda y: y[0], TypeError, "at least 1 dimension.*got scalar"),
        (lambda y: [[v] * (1 + i % 2) for i, v in enumerate(y)], ValueError, "inhomogen"),
        (masked, TypeError, r"y is a masked array.*y\.filled\(value\)"),
        (as_matrix, TypeError, "np.matrix is not supported"),
        (lambda y: sp.csr_array(y[:, np.newaxis]), TypeError, "[Ss]parse"),
    ],
    ids=[
        "None",
        "NaN",
        "infinity",
        "missing value",
        "complex",
        "strings",
        "bytes",
        "string objects",
        "string series",
        "too few",
        "none",
        "two columns",
        "one number",
        "ragged",
        "masked",
        "matrix",
        "sparse",
    ],
)
def test_targets_are_refused(method, change, error, message, problem, make_model):
    with pytest.raises(error, match=message):
        getattr(make_model(), method)(problem.X, change(problem.y))


def test_numbers_as_strings_are_read_in_samples_and_refused_in_targets(problem, make_model):
    strings = problem.X.astype(str)
    expected = make_model().fit(problem.X, problem.y)
    model = make_model().fit(strings, problem.y)
    np.testing.assert_array_equal(model.predict(strings), expected.predict(problem.X))
    with pytest.raises(ValueError, match="y holds strings"):
        model.fit(problem.X, problem.y.astype(str))


def test_targets_in_a_column_are_taken_with_a_warning(problem, make_model):
    with pytest.warns(DataConversionWarning, match="column-vector y was passed"):
        model = make_model().fit(problem.X, problem.y[:, np.newaxis])
    expected = make_model().fit(problem.X, problem.y)
    np.testing.assert_array_equal(model.coef_, expected.coef_)


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda w: 0 * w, ValueError, "sample_weight: all weights are zero"),
        (lambda w: 0.0, ValueError, "sample_weight: all weights are zero"),
        (lambda w: with_entry(w, -1.0), ValueError, "Negative values in .*sample_weight"),
        (lambda w: -1.0, ValueError, "Negative values in .*sample_weight"),
        (lambda w: with_entry(w, np.nan), ValueError, "sample_weight contains NaN"),
        (lambda w: np.nan, ValueError, "sample_weight contains NaN"),
        (lambda w: with_entry(w, np.inf), ValueError, "sample_weight contains inf"),
        (lambda w: w + 1j, ValueError, "Complex data"),
        (lambda w: w[:, np.newaxis], ValueError, r"sample_weight.*\(40, 1\).*\(40,\)"),
        (lambda w: w[:39], ValueError, r"sample_weight has shape \(39,\).*\(40,\)"),
        (masked, TypeError, "sample_weight is a masked array"),
        (as_matrix, TypeError, "np.matrix is not supported"),
    ],
    ids=[
        "zero",
        "zero number",
        "negative",
        "negative number",
        "NaN",
        "NaN number",
        "infinity",
        "complex",
        "column",
        "too few",
        "masked",
        "matrix",
    ],
)
def test_weights_are_refused(method, change, error, message, problem, make_model):
    weights = change(np.ones(len(problem.y)))
    with pytest.raises(error, match=message):
        getattr(make_model(), method)(problem.X, problem.y, sample_weight=weights)


@pytest.mark.parametrize("n_samples", [1, 2])
def test_too_few_samples_to_hold_some_out(n_samples, problem, make_model):
    model = make_model(early_stopping=True, validation_fraction=0.9)
    with pytest.raises(ValueError, match=r"validation_fraction=0\.9 .*n_samples="):
        model.fit(problem.X[:n_samples], problem.y[:n_samples])
