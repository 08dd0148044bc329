"""Fits on a cluster of processes: more data than memory, lost workers, joblib."""

import functools
import os

import joblib
import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

from skconvfilter import (
    ConvFeatureExtractor,
    ConvFilterBankRegressor,
    ConvReLUFilterRegressor,
)

dask = pytest.importorskip("dask")
da = pytest.importorskip("dask.array")
distributed = pytest.importorskip("distributed")

MEMORY_LIMIT = 2**20 * 320
WINDOW = {"kernel_size": 5, "input_shape": (32, 32), "stride": 5}
N_FEATURES, N_ROWS = 32 * 32, 2000
TEACHER = np.random.default_rng(0).standard_normal(25)


@functools.cache
def first_block():
    rng = np.random.default_rng(0)
    return rng.standard_normal((N_ROWS, N_FEATURES), dtype=np.float32)


def make_block(number, lose_at=None):
    """Samples of one block; a worker is lost where they are made for the n-th time."""
    if lose_at is not None:
        path, n_times = lose_at
        with open(path, "ab") as file:
            file.write(b".")
        if os.path.getsize(path) == n_times:
            os._exit(1)
    return np.roll(first_block(), 7 * number)


def make_targets(samples):
    images = samples.reshape(-1, 32, 32)
    windows = sliding_window_view(images, (5, 5), axis=(1, 2))[:, ::5, ::5]
    preactivations = np.tensordot(windows, TEACHER.reshape(5, 5), axes=2)
    return np.maximum(preactivations, 0).mean(axis=(1, 2))


def lazy_data(n_blocks, lose_at=None):
    """Images that exist nowhere until they are asked for, and their targets."""
    make = dask.delayed(make_block, pure=True)
    blocks = [make(i, lose_at if i == 1 else None) for i in range(n_blocks)]
    shape = N_ROWS, N_FEATURES
    X = da.concatenate([da.from_delayed(b, shape, dtype=np.float32) for b in blocks])
    y = np.concatenate([make_targets(make_block(i)) for i in range(n_blocks)])
    return X, y


def in_memory(n_blocks):
    return np.concatenate([make_block(i) for i in range(n_blocks)])


def make_model(**params):
    return ConvReLUFilterRegressor(**WINDOW, random_state=0, diagnostics=False, **params)


@pytest.fixture(scope="module")
def cluster():
    """One worker of little memory; tests add others, in this order."""
    with (
        dask.config.set({"distributed.comm.timeouts.connect": "60s"}),
        distributed.LocalCluster(
            n_workers=1,
            threads_per_worker=1,
            processes=True,
            memory_limit=MEMORY_LIMIT,
            dashboard_address=":0",
            silence_logs=50,
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield cluster, client


def add_workers(cluster, n_workers):
    """As many workers as that, at least: to take some away again is a race."""
    cluster, client = cluster
    if len(cluster.workers) < n_workers:
        cluster.scale(n_workers)
        client.wait_for_workers(n_workers, timeout=60)


def test_data_larger_than_the_memory_of_the_workers(cluster):
    X, y = lazy_data(45)
    assert X.nbytes > MEMORY_LIMIT
    model = make_model().fit(X, y)
    np.testing.assert_allclose(model.coef_, TEACHER, rtol=1e-4, atol=1e-5)


def test_the_number_of_workers_does_not_change_the_result(cluster):
    X, y = lazy_data(5)
    y = y + np.random.default_rng(0).standard_normal(len(y))
    models = []
    for n_workers in (1, 3):
        add_workers(cluster, n_workers)
        models.append(make_model(tol=1e-2).fit(X, y))
    for model in models[1:]:
        np.testing.assert_array_equal(model.coef_, models[0].coef_)
        np.testing.assert_array_equal(model.loss_curve_, models[0].loss_curve_)
    expected = make_model(tol=1e-2).fit(in_memory(5), y)
    np.testing.assert_allclose(models[0].coef_, expected.coef_, rtol=1e-5)
    np.testing.assert_allclose(models[0].loss_, expected.loss_, rtol=1e-12)


def test_a_lost_worker_does_not_change_the_result(cluster, tmp_path):
    add_workers(cluster, 2)
    X, y = lazy_data(9)
    expected = make_model().fit(X, y)
    counter = tmp_path / "counter"
    # In the first pass of a solver: what the workers know of y is lost as well.
    X, _ = lazy_data(9, lose_at=(str(counter), 3))
    model = make_model().fit(X, y)
    assert counter.stat().st_size > 3
    np.testing.assert_array_equal(model.coef_, expected.coef_)


def test_a_bank_survives_a_lost_worker(cluster, tmp_path):
    add_workers(cluster, 2)
    params = {"n_init": 1, "max_iter": 5, "tol": 1e-2, "random_state": 0}
    bank = ConvFilterBankRegressor(2, **WINDOW, **params)
    X, y = lazy_data(3, lose_at=(str(tmp_path / "counter"), 3))
    expected = clone(bank).fit(in_memory(3), y)
    features = ConvFeatureExtractor(bank).fit(X, y)
    fitted = features.estimator_
    assert (tmp_path / "counter").stat().st_size > 3
    np.testing.assert_allclose(fitted.loss_, expected.loss_, rtol=1e-9)
    np.testing.assert_allclose(fitted.coef_, expected.coef_, rtol=1e-4, atol=1e-5)
    for use in (fitted.predict, fitted.feature_map, features.transform):
        lazy = use(X)
        assert dask.is_dask_collection(lazy)
        np.testing.assert_array_equal(lazy, use(in_memory(3)))


def test_predictions_are_made_by_the_workers(cluster):
    X, y = lazy_data(3)
    model = make_model().fit(in_memory(3), y)
    np.testing.assert_array_equal(model.predict(X), model.predict(in_memory(3)))
    assert model.score(X, da.from_array(y, chunks=700)) > 1 - 1e-6


def test_search_on_a_cluster(cluster):
    add_workers(cluster, 2)
    X, y = make_block(0), make_targets(make_block(0))
    search = GridSearchCV(make_model(n_jobs=2), {"n_init": [2, 16]}, cv=2)
    expected = search.fit(X, y).cv_results_["mean_test_score"]
    with joblib.parallel_config("dask"):
        found = search.fit(X, y).cv_results_["mean_test_score"]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_a_cluster_without_workers_is_waited_for_aloud():
    X, y = lazy_data(1)
    limit = {"distributed.scheduler.no-workers-timeout": "7s"}
    with (
        dask.config.set(limit),
        distributed.LocalCluster(n_workers=0, dashboard_address=None) as cluster,
        distributed.Client(cluster),
        pytest.warns(UserWarning, match="no workers.*no-workers-timeout"),
        pytest.raises(Exception, match="without any running workers"),
    ):
        ConvReLUFilterRegressor(**WINDOW).fit(X, y)
