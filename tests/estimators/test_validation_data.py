"""Validation data of the user's own, ``fit(X, y, X_val=..., y_val=...)``."""

import numpy as np
import pytest
import sklearn
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skconvfilter import ConvFilterBankRegressor, ConvReLUFilterRegressor

MODELS = [
    ConvReLUFilterRegressor(
        3, input_shape=(8,), n_init=4, early_stopping=True, diagnostics=False,
        random_state=0,
    ),
    ConvFilterBankRegressor(
        2, kernel_size=3, input_shape=(8,), n_init=1, early_stopping=True,
        diagnostics=False, random_state=0,
    ),
]  # fmt: skip


@pytest.fixture(params=MODELS, ids=["filter", "bank"])
def model(request):
    return clone(request.param)


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((200, 8))
    y = np.abs(X).mean(axis=1) + 0.3 * rng.standard_normal(200)
    return X[:120], y[:120], X[120:], y[120:]


def test_they_decide_and_nothing_else_is_held_out(model, data):
    X, y, X_val, y_val = data
    model.fit(X, y, X_val=X_val, y_val=y_val)
    assert model.n_samples_seen_ == len(y)
    assert model.best_validation_score_ == pytest.approx(model.score(X_val, y_val))
    assert model.best_validation_score_ == pytest.approx(model.validation_scores_.max())


def test_they_come_through_pipelines_and_grid_searches(model, data):
    X, y, X_val, y_val = data
    with sklearn.config_context(enable_metadata_routing=True):
        model.set_fit_request(X_val=True, y_val=True)
        pipeline = make_pipeline(StandardScaler(), model)
        pipeline.set_params(transform_input=["X_val"])
        pipeline.fit(X, y, X_val=X_val, y_val=y_val)
        scaler = StandardScaler().fit(X)
        expected = clone(model).fit(
            scaler.transform(X), y, X_val=scaler.transform(X_val), y_val=y_val
        )
        np.testing.assert_array_equal(pipeline[-1].coef_, expected.coef_)
        search = GridSearchCV(clone(model), {"alpha": [0.0, "auto"]}, cv=2)
        search.fit(X, y, X_val=X_val, y_val=y_val)
    assert np.isfinite(search.best_score_)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y_val": None}, "X_val and y_val together"),
        ({"X_val": None}, "X_val and y_val together"),
        ({"X_val": np.ones((80, 5))}, "X_val and y_val.*5 features"),
        ({"y_val": np.ones(3)}, "X_val and y_val.*inconsistent"),
        ({"X_val": np.full((80, 8), np.nan)}, "X_val and y_val.*NaN"),
    ],
)
def test_bad_ones_are_named_and_nothing_is_lost(change, message, model, data):
    X, y, X_val, y_val = data
    coef = model.fit(X, y, X_val=X_val, y_val=y_val).coef_
    with pytest.raises(ValueError, match=message):
        model.fit(X, y, **{"X_val": X_val, "y_val": y_val, **change})
    assert model.coef_ is coef


def test_they_are_refused_without_early_stopping(model, data):
    X, y, X_val, y_val = data
    with pytest.raises(ValueError, match="early_stopping=True"):
        model.set_params(early_stopping=False).fit(X, y, X_val=X_val, y_val=y_val)
