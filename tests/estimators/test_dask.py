"""Fits of dask arrays by the default scheduler; clusters have a module of their own."""

import numpy as np
import pytest

from tests.estimators.cases import BANK

dask = pytest.importorskip("dask")
da = pytest.importorskip("dask.array")

QUICK = {"n_init": 2, "diagnostics": False}


@pytest.fixture(scope="module")
def problem(all_digits):
    """Digits with noisy targets, of which no fit is exact."""
    noise = np.random.default_rng(0).standard_normal(len(all_digits.y))
    return all_digits._replace(y=all_digits.y + 0.1 * noise)


def in_chunks(array, *sizes):
    """A dask array cut along the samples only."""
    chunks = sizes if len(sizes) > 1 else sizes[0]
    return da.from_array(array, chunks=(chunks, *array.shape[1:]))


@pytest.mark.parametrize(
    ("form", "chunks"),
    [
        ("X", [400]),
        ("X", [1797]),
        ("patches", [0, 1000, 0, 796, 1, 0]),
        ("windows", [400]),
    ],
    ids=str,
)
def test_the_fit_is_that_of_the_array(form, chunks, problem, make_model):
    window = {} if form == "X" else {"kernel_size": None, "input_shape": None}
    model = make_model(n_init=2, **window)
    X = np.ascontiguousarray(getattr(problem, form))
    here = vars(model.fit(X, problem.y)).copy()
    there = model.fit(in_chunks(X, *chunks), problem.y)
    assert here.keys() == vars(there).keys()
    np.testing.assert_allclose(there.coef_, here["coef_"], rtol=1e-9)
    np.testing.assert_allclose(there.gamma_, here["gamma_"], rtol=1e-9)
    assert there.n_samples_seen_ == len(X)


@pytest.mark.slow
@pytest.mark.parametrize(
    "params",
    [
        {"solver": "levenberg-marquardt"},
        {"solver": "levenberg-marquardt", "polish": False},
        {"solver": "gd", "polish": False, "max_iter": 5},
        {"solver": "sgd", "polish": False, "batch_size": 1797, "max_iter": 5},
        {"early_stopping": True, "validation_fraction": 0.3},
        {"learning_rate": "theory", "fit_intercept": False},
        {"init_radius": "theory", "output_sign": 1, "alpha": 0.1},
        {"init": np.ones(9), "init_radius": 1.0},
    ],
    ids=lambda params: " ".join(f"{name}={value}" for name, value in params.items()),
)
@pytest.mark.filterwarnings("ignore:The best restart", "ignore:learning_rate='theory'")
def test_parameters_mean_the_same(params, problem, make_model):
    model = make_model(n_init=2, diagnostics=False, **params)
    here = vars(model.fit(problem.X, problem.y)).copy()
    there = model.fit(in_chunks(problem.X, 500), problem.y)
    for name in ("coef_", "intercept_", "loss_", "n_iter_"):
        np.testing.assert_allclose(getattr(there, name), here[name], rtol=1e-7)
    if "early_stopping" in params:
        scores = there.validation_scores_, here["validation_scores_"]
        np.testing.assert_allclose(*scores, rtol=1e-7)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["u1", "f2", "f4", "?", ">f4"])
def test_dtypes_become_those_of_arrays(dtype, problem, make_model):
    X = (16 * problem.X).astype(dtype)
    model = make_model(**QUICK)
    there = model.fit(in_chunks(X, 900), problem.y).coef_
    predicted = model.predict(in_chunks(X, 900))
    here = model.fit(X, problem.y).coef_
    assert there.dtype == here.dtype
    np.testing.assert_allclose(there, here, rtol=1e-4 if dtype == "f4" else 1e-9)
    assert predicted.dtype == model.predict(X).dtype
    np.testing.assert_allclose(predicted.compute(), model.predict(X), rtol=1e-3)


@pytest.mark.parametrize("lazy", ["y", "weights", "both"])
def test_targets_and_weights_may_be_in_other_chunks(lazy, problem, make_model):
    weights = np.arange(1797) % 3 / 2
    model = make_model(**QUICK)
    y = in_chunks(problem.y, 1000) if lazy != "weights" else problem.y
    w = in_chunks(weights, 77) if lazy != "y" else weights
    there = vars(model.fit(in_chunks(problem.X, 500), y, w)).copy()
    here = model.fit(problem.X, problem.y, weights)
    np.testing.assert_allclose(there["coef_"], here.coef_, rtol=1e-9)
    scores = [
        model.score(in_chunks(problem.X, 500), y, w),
        model.score(problem.X, problem.y, weights),
    ]
    assert scores[0] == scores[1]


def test_targets_may_have_unknown_chunks(problem, make_model):
    y = in_chunks(problem.y, 500)
    model = make_model(**QUICK)
    model.fit(in_chunks(problem.X, 500), y[y > -np.inf])
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        model.fit(in_chunks(problem.X, 500), y[y > np.median(problem.y)])


def test_predictions_and_maps_are_lazy(problem, make_model):
    seen = []

    def make(block):
        seen.append(len(block))
        return block

    model = make_model(**QUICK).fit(problem.X, problem.y)
    X = in_chunks(problem.X, 0, 900, 897).map_blocks(make, meta=np.empty((0, 0)))
    predicted, maps = model.predict(X), model.feature_map(X)
    assert not seen
    assert predicted.chunks == ((0, 900, 897),)
    assert maps.shape == (1797, 6, 6)
    np.testing.assert_array_equal(predicted, model.predict(problem.X))
    np.testing.assert_array_equal(maps, model.feature_map(problem.X))
    # Of as many samples as there may be.
    unknown = X[X[:, 20] > 0]
    known = problem.X[problem.X[:, 20] > 0]
    np.testing.assert_array_equal(model.predict(unknown), model.predict(known))


def with_entry(array, value):
    array = array.astype(np.result_type(array, value))
    array[1200, 3] = value
    return array


def fail(block):
    raise MemoryError("full")


BAD_SAMPLES = {
    "NaN": (
        lambda X: in_chunks(with_entry(X, np.nan), 500),
        ValueError,
        "Input X contains NaN in block 2, rows 1000 to 1499",
    ),
    "infinity": (
        lambda X: in_chunks(with_entry(X, -np.inf), 0, 1000, 797),
        ValueError,
        "Input X contains infinity in block 2, rows 1000 to 1796",
    ),
    "complex": (lambda X: in_chunks(X + 1j, 500), ValueError, "real numbers.*complex128"),
    "strings": (lambda X: in_chunks(X.astype(str), 500), ValueError, "real numbers"),
    "unknown sizes": (
        lambda X: (lambda D: D[D[:, 20] > 0])(in_chunks(X, 500)),
        ValueError,
        r"X\.compute_chunk_sizes\(\)",
    ),
    "cut features": (
        lambda X: da.from_array(X, chunks=(500, 32)),
        ValueError,
        r"chunked along its features.*X\.rechunk\(\{1: -1\}\)",
    ),
    "one axis": (lambda X: in_chunks(X[:, 0], 500), ValueError, "Expected 2D array"),
    "other images": (
        lambda X: in_chunks(X.reshape(-1, 4, 16), 500),
        ValueError,
        r"shape \(4, 16\), but input_shape=\(8, 8\)",
    ),
    "no samples": (lambda X: in_chunks(X[:0], 1), ValueError, r"0 sample\(s\)"),
    "too few": (
        lambda X: in_chunks(X[:99], 50),
        ValueError,
        "numbers of samples.*99, 1797",
    ),
    "other numbers": (
        lambda X: in_chunks(X, 900).map_blocks(lambda b: b + 1j, dtype=float),
        ValueError,
        "X holds complex128 in place of real numbers in block 0",
    ),
    "other shape": (
        lambda X: in_chunks(X, 900).map_blocks(lambda b: b[:-1], dtype=float),
        ValueError,
        r"X has shape \(899, 64\) where \(900, 64\) was announced in block 0",
    ),
    "masked": (
        lambda X: in_chunks(X, 900).map_blocks(np.ma.masked_array, dtype=float),
        ValueError,
        "X holds a MaskedArray in place of an array",
    ),
    "delayed": (lambda X: dask.delayed(X), TypeError, "not a dask array"),
    "out of range": (lambda X: in_chunks(1e80 * X, 500), ValueError, "entry of X is 1e.80"),
    "no memory": (
        lambda X: in_chunks(X, 900).map_blocks(fail, meta=X[:0]),
        MemoryError,
        "full",
    ),
}


@pytest.mark.parametrize(
    ("change", "error", "message"), BAD_SAMPLES.values(), ids=BAD_SAMPLES
)
def test_samples_are_refused(change, error, message, problem, make_model):
    model = make_model(**QUICK).fit(problem.X[:100], problem.y[:100])
    before = vars(model).copy()
    with pytest.raises(error, match=message):
        model.fit(change(problem.X), problem.y)
    assert vars(model) == before


def test_predictions_refuse_at_once_what_can_be_seen(problem, make_model):
    model = make_model(**QUICK).fit(problem.X, problem.y)
    with pytest.raises(ValueError, match="64 features"):
        model.predict(in_chunks(problem.X[:, 1:], 500))
    with pytest.raises(ValueError, match="chunked along its features"):
        model.predict(da.from_array(problem.X, chunks=(500, 32)))
    spoiled = model.predict(in_chunks(with_entry(problem.X, np.nan), 500))
    with pytest.raises(ValueError, match="Input X contains NaN"):
        spoiled.compute()


@pytest.mark.parametrize("change", [lambda b: b * np.nan, lambda b: b[:-1]])
@pytest.mark.parametrize("after", [1, 3])
def test_samples_that_change_between_passes_are_refused(after, change, problem, make_model):
    n_read = 0

    def read(block):
        nonlocal n_read
        if block[0, 20] != problem.X[500, 20]:
            return block
        n_read += 1
        return change(block) if n_read > after else block

    X = in_chunks(problem.X, 500).map_blocks(read, dtype=float, meta=problem.X[:0])
    with pytest.raises(ValueError, match=r"X has changed in block 1 .*X\.persist\(\)"):
        make_model(n_init=2).fit(X, problem.y)


@pytest.mark.slow
def test_many_small_chunks_are_read_together(problem, make_model):
    many = in_chunks(problem.X, 3)
    model = make_model(n_init=2).fit(many, problem.y)
    few = make_model(n_init=2).fit(in_chunks(problem.X, 1797), problem.y)
    np.testing.assert_array_equal(model.coef_, few.coef_)
    bad = in_chunks(with_entry(problem.X, np.nan), 3)
    with pytest.raises(ValueError, match="Input X contains NaN in block 0, rows 0 to 1796"):
        make_model().fit(bad, problem.y)


def test_columns_are_refused(problem, make_model):
    X, y = in_chunks(problem.X, 500), problem.y
    with pytest.raises(ValueError, match="y must be a 1d array"):
        make_model().fit(X, X)
    with pytest.raises(ValueError, match="y must be a 1d array, got Delayed"):
        make_model().fit(X, dask.delayed(y))
    with pytest.raises(ValueError, match="Input y contains NaN"):
        make_model().fit(X, in_chunks(np.where(y > 1, y, np.nan), 500))
    with pytest.raises(ValueError, match="sample_weight has shape"):
        make_model().fit(X, y, in_chunks(np.ones(9), 5))


def test_what_needs_samples_in_memory_is_refused(problem, make_model):
    X = in_chunks(problem.X, 500)
    with pytest.raises(ValueError, match=r"mini-batches.*polish=True, solver='gd'"):
        make_model(polish=False).fit(X, problem.y)
    with pytest.raises(TypeError, match=r"X\.blocks\[i\]\.compute\(\)"):
        make_model().partial_fit(X, problem.y)
    data = BANK.data()
    with pytest.raises(ValueError, match=r"mini-batches.*solver='gd'"):
        BANK.make(solver="sgd").fit(in_chunks(data.X, 100), data.y)


def test_few_samples_are_loaded_once(problem, make_model):
    """What fits into the subsample makes the very fit of the array."""
    X, y = problem.X[:700], problem.y[:700]
    there, here = (make_model(**QUICK).fit(X, y) for X in (in_chunks(X, 100), X))
    np.testing.assert_array_equal(there.coef_, here.coef_)


@pytest.mark.parametrize("solver", ["levenberg-marquardt", "gd"])
@pytest.mark.filterwarnings("ignore:The best restart")
def test_a_bank(solver):
    # More samples than starts are compared on.
    data = BANK.data(12_000)
    params = {"init": "random", "n_init": 2, "solver": solver, "max_iter": 30}
    here = BANK.make(**params).fit(data.X, data.y)
    there = BANK.make(**params).fit(in_chunks(data.X, 2500), data.y)
    np.testing.assert_allclose(there.coef_, here.coef_, rtol=1e-9)
    assert there.loss_ == pytest.approx(here.loss_)
    assert there.n_iter_ == here.n_iter_
    maps = there.feature_map(in_chunks(data.X, 2500))
    np.testing.assert_array_equal(maps, there.feature_map(data.X))
