"""Files of estimators: what is in them, who wrote them, and what if they are corrupted."""

import copy
import io
import pickle
import tempfile
import warnings
import zipfile
from functools import cache

import joblib
import numpy as np
import pytest
import skops.io
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.exceptions import InconsistentVersionWarning

import skconvfilter
from skconvfilter import (
    ConvFilterBankRegressor,
    ConvPatchExtractor,
    ConvReLUFilterRegressor,
)
from skconvfilter.solvers.recursive import StreamState
from tests.estimators.cases import BANK, FILTER, GEOMETRY, fit_quietly

# What each estimator can do with samples.
USES = {
    "regressor": ["predict", "feature_map", "score", "partial_fit", "fit"],
    "stream": ["predict", "feature_map", "score", "partial_fit", "fit"],
    "bank": ["predict", "feature_map", "score", "fit"],
    "extractor": ["transform", "get_feature_names_out"],
}
PARAMETERS = ["kernel_size", "input_shape", "stride", "padding", "dilation"]
OWN = ["activation", "pooling", "flatten"]


@cache
def fitted(name):
    """An estimator of that name; not to be changed."""
    case = BANK if name == "bank" else FILTER
    data = case.data().take(60)
    if name == "extractor":
        return ConvPatchExtractor(**GEOMETRY, flatten=True).fit(data.X)
    model = case.make(n_init=2, warm_start=True, diagnostics=True)
    if name == "stream":
        return model.partial_fit(data.X, data.y)
    return fit_quietly(model, data.X, data.y)


def samples(estimator):
    case = BANK if isinstance(estimator, ConvFilterBankRegressor) else FILTER
    return case.data().take(60)[:2]


def output(estimator, use):
    X, y = samples(estimator)
    if use == "get_feature_names_out":
        return estimator.get_feature_names_out()
    if use in ("score", "fit", "partial_fit"):
        fit = use == "fit"
        result = fit_quietly(estimator, X, y) if fit else getattr(estimator, use)(X, y)
        return result if use == "score" else result.predict(X)
    return getattr(estimator, use)(X)


def through_pickle(estimator):
    return pickle.loads(pickle.dumps(estimator))


def through_joblib(estimator):
    file = io.BytesIO()
    joblib.dump(estimator, file)
    file.seek(0)
    return joblib.load(file)


def through_a_mapped_file(estimator):
    with tempfile.TemporaryDirectory() as folder:
        joblib.dump(estimator, f"{folder}/model")
        return joblib.load(f"{folder}/model", mmap_mode="r")


def through_skops(estimator):
    data = skops.io.dumps(estimator)
    trusted = skops.io.get_untrusted_types(data=data)
    # The class itself: nobody need look at more.
    assert trusted == [f"{type(estimator).__module__}.{type(estimator).__name__}"]
    return skops.io.loads(data, trusted=trusted)


FORMATS = [
    through_pickle,
    through_joblib,
    through_a_mapped_file,
    through_skops,
    copy.deepcopy,
]


@pytest.mark.parametrize("through", FORMATS)
@pytest.mark.parametrize("name", USES)
def test_copies_do_all_that_their_originals_do(name, through):
    restored = through(fitted(name))
    assert vars(restored).keys() == vars(fitted(name)).keys()
    for use in USES[name]:
        expected = output(copy.deepcopy(fitted(name)), use)
        np.testing.assert_array_equal(output(restored, use), expected)
        restored = through(fitted(name))


@pytest.mark.parametrize("through", FORMATS)
def test_the_certificate_is_restored(through):
    original, restored = fitted("regressor"), through(fitted("regressor"))
    assert original.certificate_ is not None
    assert type(restored.certificate_) is type(original.certificate_)
    assert str(restored.certificate_) == str(original.certificate_)
    expected = original.certificate_.to_dict()
    np.testing.assert_equal(restored.certificate_.to_dict(), expected)


def test_an_estimator_without_a_certificate_is_restored():
    # Too few samples to certify anything.
    data = FILTER.data().take(5)
    model = FILTER.make(diagnostics=True).fit(data.X, data.y)
    assert model.certificate_ is None
    assert through_skops(model).certificate_ is None


@pytest.mark.parametrize("random_state", [None, 3, np.random.RandomState(0)], ids=type)
def test_skops_trusts_random_states(random_state):
    model = copy.deepcopy(fitted("regressor")).set_params(random_state=random_state)
    restored = through_skops(model.set_params(init=np.ones((2, 4))))
    refitted = output(restored, "fit")
    if random_state is None:
        assert np.isfinite(refitted).all()
    else:
        np.testing.assert_array_equal(refitted, output(model, "fit"))


@pytest.mark.parametrize("name", USES)
def test_the_state_is_plain(name):
    plain = (int, float, bool, str, np.float64, np.int64, np.ndarray, type(None))

    def check(value, where):
        if type(value) in (dict, list, tuple):
            entries = value.items() if type(value) is dict else enumerate(value)
            for key, entry in entries:
                check(entry, f"{where} {key}")
        else:
            assert type(value) in plain, where
            assert not (type(value) is np.ndarray and value.dtype.kind == "O"), where

    check(fitted(name).__getstate__(), name)


@pytest.mark.parametrize("name", ["regressor", "stream", "bank"])
def test_files_written_with_numpy_1_are_read(name):
    # NumPy 2 has renamed the module whose functions make arrays. Names of protocol 2 end
    # with the line, and may so be of another length.
    file = pickle.dumps(fitted(name), protocol=2)
    assert b"cnumpy._core." in file
    restored = pickle.loads(file.replace(b"cnumpy._core.", b"cnumpy.core."))
    use = USES[name][0]
    np.testing.assert_array_equal(output(restored, use), output(fitted(name), use))


@pytest.mark.parametrize("name", USES)
def test_copies_have_the_same_hash(name):
    # So that joblib.Memory knows an estimator that comes from a file again.
    expected = joblib.hash(fitted(name))
    assert joblib.hash(through_pickle(fitted(name))) == expected
    used = copy.deepcopy(fitted(name))
    output(used, USES[name][0])
    assert joblib.hash(used) == expected


@pytest.mark.parametrize("name", USES)
def test_files_of_other_versions_are_loaded_with_a_warning(name):
    estimator = fitted(name)
    state = estimator.__getstate__()
    assert state["_skconvfilter_version"] == skconvfilter.__version__
    for change, version in [({"_skconvfilter_version": "0.0.7"}, "0.0.7"), ({}, "unknown")]:
        other = {key: v for key, v in state.items() if key != "_skconvfilter_version"}
        restored = type(estimator).__new__(type(estimator))
        with pytest.warns(InconsistentVersionWarning) as caught:
            restored.__setstate__(other | change)
        text = str(caught[0].message)
        for part in (type(estimator).__name__, version, skconvfilter.__version__):
            assert part in text
        assert vars(restored).keys() == vars(estimator).keys()
        use = USES[name][0]
        np.testing.assert_array_equal(output(restored, use), output(estimator, use))


@pytest.mark.parametrize("name", USES)
def test_files_without_a_parameter_are_refused(name):
    state = fitted(name).__getstate__()
    del state["padding"]
    with pytest.raises(ValueError, match=r"has no padding: .*Fit again"):
        type(fitted(name))().__setstate__(state)


def test_a_corrupted_certificate_is_refused():
    state = fitted("regressor").__getstate__()
    for change in ({"checks": [{}]}, {"path": {"x": 1}}, {"smoothness": 3}, {"more": 1}):
        certificate = state["certificate_"] | change
        with pytest.raises(ValueError, match="not the fields of a certificate"):
            ConvReLUFilterRegressor().__setstate__(state | {"certificate_": certificate})


@pytest.mark.parametrize("through", [pickle, skops.io])
def test_truncated_files_raise_an_error(through):
    data = through.dumps(fitted("regressor"))
    for share in (0.01, 0.3, 0.7, 0.99):
        errors = (pickle.UnpicklingError, EOFError, ValueError, zipfile.BadZipFile)
        with pytest.raises(errors):
            through.loads(data[: int(share * len(data))])


# Anything that may stand where an attribute stood.
ANYTHING = st.one_of(
    st.none(),
    st.booleans(),
    st.text(max_size=3),
    st.integers(-3, 100),
    st.floats(),
    st.complex_numbers(),
    st.lists(st.floats() | st.lists(st.integers(0, 9), max_size=2), max_size=10),
    st.dictionaries(st.text(max_size=1), st.integers(), max_size=2),
    hnp.arrays(
        st.sampled_from([np.float64, np.float32, np.int8, np.bool_, np.complex128, "U2"]),
        hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=10),
    ),
)
# And where a parameter stood: nothing that makes an image huge.
SMALL = st.one_of(
    st.none(),
    st.booleans(),
    st.text(max_size=3),
    st.integers(-2, 5),
    st.floats(),
    st.lists(st.integers(-1, 4), max_size=3),
)

# What bit rot, or a hand, makes of an array.
DAMAGES = {
    "shorter": lambda a: a[..., :-1],
    "longer": lambda a: np.concatenate([a, a], axis=-1),
    "empty": lambda a: a[..., :0],
    "one axis more": lambda a: a[np.newaxis],
    "flat": np.ravel,
    "transposed": np.transpose,
    "NaN": lambda a: np.where(np.arange(a.size).reshape(a.shape) == 1, np.nan, a),
    "infinite": lambda a: np.full(a.shape, np.inf),
    "huge": lambda a: np.full(a.shape, 1e308),
    "of strings": lambda a: a.astype(str),
    "of objects": lambda a: np.where(a == a.flat[0], None, a.astype(object)),
    "complex": lambda a: a + 1j,
    "whole": np.rint,
    "not writable": lambda a: np.frombuffer(a.tobytes(), a.dtype).reshape(a.shape),
    "of other order": lambda a: a.astype(a.dtype.newbyteorder("S")),
    "unaligned": lambda a: np.frombuffer(b"." + a.tobytes(), a.dtype, offset=1),
}


@st.composite
def corruptions(draw):
    """An estimator of which something has changed, whether a parameter, and its use."""
    name = draw(st.sampled_from(list(USES)))
    estimator = copy.deepcopy(fitted(name))
    params = [key for key in [*PARAMETERS, *OWN] if key in estimator.get_params()]
    attributes = [
        key
        for key in [
            *["coef_", "intercept_", "sign_"],
            *["output_weights_", "output_scale_", "n_features_in_"],
        ]
        if hasattr(estimator, key)
    ]
    parts = list(getattr(estimator, "_stream", {}))
    key = draw(
        st.sampled_from([*attributes, *attributes, *parts, "feature_names_in_", *params])
    )
    owner = estimator._stream if key in parts else vars(estimator)
    value = owner.get(key)
    if isinstance(value, np.ndarray) and value.size and draw(st.booleans()):
        damage = draw(st.sampled_from(list(DAMAGES)))
        if not (damage == "longer" and value.ndim == 0):
            owner[key] = DAMAGES[damage](value)
    elif key not in params and draw(st.integers(0, 9)) == 0:
        owner.pop(key, None)
    else:
        owner[key] = draw(SMALL if key in params else ANYTHING)
    return estimator, key in params, draw(st.sampled_from(USES[name]))


@pytest.fixture(scope="module")
def all_fitted():
    """Fits every estimator, which hypothesis would otherwise take for a slow draw."""
    return [fitted(name) for name in USES]


@pytest.mark.usefixtures("all_fitted")
@given(corruptions())
def test_corrupted_attributes_give_an_error_or_numbers(corrupted):
    estimator, is_parameter, use = corrupted
    errors = (ValueError, TypeError, AttributeError) if is_parameter else ValueError
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            result = output(estimator, use)
        except errors:
            return
    kind = "O" if use == "get_feature_names_out" else "f"
    assert np.asarray(result).dtype.kind == kind


@pytest.mark.parametrize("value", [1j, "1", None, np.nan, np.ones((1, 2, 3))], ids=repr)
@pytest.mark.parametrize("part", StreamState._fields)
def test_a_corrupted_stream_is_refused(part, value):
    estimator = copy.deepcopy(fitted("stream"))
    estimator._stream[part] = value
    with pytest.raises(ValueError, match="The state of the stream has been changed"):
        output(estimator, "partial_fit")
