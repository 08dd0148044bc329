"""Images and signals as they come, and what is ambiguous about them."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.base import clone

from skconvfilter import ConvFeatureExtractor, ConvPatchExtractor
from skconvfilter.onnx import to_onnx
from tests.estimators.cases import BANK

# kernel_size, shape of a sample.
SHAPES = [
    ((2, 2), (4, 6)),
    ((2, 2), (4, 3, 2)),
    ((4,), (12, 2)),
    ((2, 2, 2), (4, 3, 2)),
    ((2, 2, 2), (3, 2, 2, 2)),
]


def make(case, kernel_size, **params):
    geometry = {"kernel_size": kernel_size, "input_shape": None, "stride": 1}
    return case.make(n_init=1, **(geometry | params))


@pytest.mark.parametrize(("kernel_size", "shape"), SHAPES, ids=str)
def test_images_are_flat_rows_of_their_shape(kernel_size, shape, case):
    data = case.data().take(60)
    X = data.X.reshape(60, *shape)
    flat = make(case, kernel_size, input_shape=shape).fit(data.X, data.y)
    model = make(case, kernel_size).fit(X, data.y)
    assert_array_equal(model.coef_, flat.coef_)
    assert model.input_shape_ == shape
    assert model.n_features_in_ == 24
    for samples in (X, X.tolist(), data.X):
        assert_array_equal(model.predict(samples), flat.predict(data.X))
        assert_array_equal(flat.predict(samples), flat.predict(data.X))
    features = ConvFeatureExtractor(make(case, kernel_size)).fit(X, data.y)
    assert_array_equal(features.transform(X), features.transform(data.X))
    with pytest.raises(ValueError, match="X holds samples of shape"):
        model.predict(X.swapaxes(1, 2) if shape[0] != shape[1] else X[:, ::-1, :1])


@pytest.mark.parametrize(("kernel_size", "shape"), SHAPES, ids=str)
@pytest.mark.parametrize("flatten", [False, True])
def test_patches_of_images(flatten, kernel_size, shape):
    X = np.arange(48.0).reshape(2, *shape)
    extractor = ConvPatchExtractor(kernel_size, flatten=flatten)
    expected = clone(extractor).set_params(input_shape=shape)
    flat = X.reshape(2, -1)
    assert_array_equal(extractor.fit_transform(X), expected.fit_transform(flat))
    assert_array_equal(extractor.transform(flat), expected.transform(flat))
    if flatten:
        assert len(extractor.get_feature_names_out()) == extractor.transform(X).shape[1]


def test_flat_rows_after_images_are_read_as_parameters_say(case):
    data = case.data().take(60)
    model = make(case, (2, 2)).fit(data.X.reshape(60, 4, 6), data.y)
    model.set_params(kernel_size=(4,)).fit(data.X, data.y)
    assert not hasattr(model, "input_shape_")
    expected = make(case, (4,)).fit(data.X, data.y)
    assert_array_equal(model.coef_, expected.coef_)


def test_channels_first_need_no_transpose(case):
    X = np.random.default_rng(0).standard_normal((60, 2, 4, 6))
    y = case.data().y[:60]
    first = make(case, (2, 2, 2)).fit(X, y)
    moved = np.ascontiguousarray(np.moveaxis(X, 1, -1))
    # The windows are the same, their entries in another order.
    patches = ConvPatchExtractor((2, 2, 2)).fit_transform(X).reshape(60, 15, 2, 4)
    same = ConvPatchExtractor((2, 2)).fit_transform(moved).reshape(60, 15, 4, 2)
    assert_array_equal(patches.swapaxes(2, 3), same)
    assert first.filters_.shape[-3:] == (2, 2, 2) if case.is_bank else True


@pytest.mark.parametrize(
    ("params", "shape", "message"),
    [
        (
            {"kernel_size": 2},
            (4, 6),
            r"kernel_size=2 does not det.*\(2,\).*\(2, 2\)",
        ),
        ({"kernel_size": 2}, (2, 3, 4), r"\(2, 3, 4\).*\(2, 2, 2\) for vol.*input_shape"),
        ({"kernel_size": (2, 2)}, (2, 3, 4), r"4 channels.* first axis.*\(2, 2, 2\).*no t"),
        ({"kernel_size": (2,)}, (2, 12), r"12 channels.*kernel_size=\(2, 2\)"),
        ({"kernel_size": (2,)}, (4, 3, 2), r"has 1 axes, but X .*\(4, 3, 2\).*=None"),
        ({"kernel_size": (2, 2), "input_shape": (6, 4)}, (4, 6), r"input_shape=\(6, 4\)"),
    ],
)
def test_ambiguous_images_are_refused(params, shape, message, case):
    data = case.data().take(60)
    X = data.X.reshape(60, *shape)
    for model in (make(case, **params), ConvPatchExtractor(**params)):
        with pytest.raises(ValueError, match=message):
            model.fit(X, data.y)
        assert not hasattr(model, "input_shape_")
    # An input_shape says it.
    if "input_shape" not in params and len(shape) - 1 <= np.size(params["kernel_size"]):
        make(case, **params, input_shape=shape).fit(X, data.y)


def test_images_without_a_window_have_no_meaning_for_an_extractor():
    with pytest.raises(ValueError, match=r"\(2, 4, 6\).* kernel_size=\(3, 3\) for im"):
        ConvPatchExtractor().fit(np.ones((2, 4, 6)))


def test_square_rows_without_a_shape_may_be_images(case):
    X = np.random.default_rng(0).standard_normal((60, 64))
    y = case.data().y[:60]
    with pytest.warns(UserWarning, match=r"64 features are read as signals.*\(8, 8\)") as w:
        model = make(case, 3).fit(X, y)
    assert len(w) == 1
    model.predict(X)  # in silence
    for params in ({"kernel_size": (3,)}, {"kernel_size": 3, "input_shape": (8, 8)}):
        make(case, **params).fit(X, y)


def test_images_in_files_and_chunks(case, tmp_path):
    data = case.data().take(60)
    X = data.X.reshape(60, 4, 6)
    np.save(tmp_path / "X.npy", X)
    expected = make(case, (2, 2)).fit(X, data.y)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    found = make(case, (2, 2)).fit(mapped, data.y)
    np.testing.assert_allclose(found.predict(mapped), expected.predict(X), rtol=1e-6)
    da = pytest.importorskip("dask.array")
    chunked = da.from_array(X, chunks=(25, -1, -1))
    found = make(case, (2, 2)).fit(chunked, data.y)
    np.testing.assert_allclose(found.predict(chunked), expected.predict(X), rtol=1e-6)


def test_onnx_graphs_know_the_shape():
    pytest.importorskip("onnx")
    reference = pytest.importorskip("onnx.reference")
    data = BANK.data().take(60)
    X = data.X.astype(np.float32).reshape(60, 4, 6)
    model = make(BANK, (2, 2)).fit(X, data.y)
    graph = reference.ReferenceEvaluator(to_onnx(model))
    (name,) = graph.input_names
    (found,) = graph.run(None, {name: X.reshape(60, 24)})
    np.testing.assert_allclose(np.ravel(found), model.predict(X), rtol=1e-4)
