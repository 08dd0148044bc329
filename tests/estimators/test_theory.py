"""The attributes of `diagnostics`, and the steps of the theorems."""

import math
import pickle

import numpy as np
import pytest

from skconvfilter import ConvReLUFilterRegressor, diagnostics
from skconvfilter.datasets import make_close_patches, make_filter_regression

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

NUMBERS = ("gamma_", "L_", "beta_", "L_cross_", "phi_0_")
PAPER = {"fit_intercept": False, "output_sign": 1, "polish": False}


def gaussian(n_patches, n_samples=2000, patch_dim=5, scale=1.0):
    rng = np.random.default_rng(0)
    X = scale * rng.standard_normal((n_samples, n_patches, patch_dim))
    X, y, teacher = make_filter_regression(X=X, return_teacher=True, random_state=0)
    return X, y, teacher


def paper_model(**options):
    return ConvReLUFilterRegressor(**(PAPER | {"random_state": 0} | options))


@pytest.mark.parametrize("n_patches", [1, 4])
@pytest.mark.parametrize("scale", [1.0, 1e-30, 1e30])
def test_attributes_are_near_the_closed_forms(n_patches, scale):
    X, y, _ = gaussian(n_patches, scale=scale)
    model = ConvReLUFilterRegressor(random_state=0).fit(X, y)
    phi = math.pi / 2 if math.isnan(model.phi_0_) else model.phi_0_
    unit = 2 * math.pi * n_patches / scale**2
    # A few hundred samples, and the least of a few directions.
    gamma = math.pi - phi - math.sin(phi)
    assert model.gamma_ * unit == pytest.approx(gamma, abs=0.12 * math.pi)
    assert model.L_ * unit == pytest.approx(math.pi + n_patches - 1, rel=0.2)
    beta = {1: 1 / math.pi, 4: 0.10323}[n_patches]
    assert model.beta_ / scale**2 == pytest.approx(beta, rel=0.4)
    cross = 0.173206 * (1 - 1 / n_patches)
    assert model.L_cross_ / scale**2 == pytest.approx(cross, rel=0.4, abs=1e-12)


def test_certificate_is_that_of_the_path_of_the_best_restart(digits, make_model):
    model = make_model().fit(digits.X, digits.y)
    report = model.certificate_
    away = np.linalg.norm(model.coef_path_ - model.coef_, axis=1)
    distances = away / np.linalg.norm(model.coef_)
    np.testing.assert_allclose(report.path.distances, distances, atol=1e-12)
    angles = model.history_["angle"][:, model.best_restart_]
    np.testing.assert_allclose(report.path.angles, angles[np.isfinite(angles)], atol=1e-9)
    assert report.relative_distance == pytest.approx(distances[0])
    if distances[0] < 1:
        assert model.phi_0_ == pytest.approx(math.asin(distances[0]))
    else:
        assert math.isnan(model.phi_0_)
    assert {check.theorem for check in report.checks} >= {"Theorem 3.1", "Theorem 3.4"}
    assert "Path:" in str(report)


def test_path_ends_at_the_filter(digits, make_model):
    model = make_model(warm_start=True).fit(digits.X, digits.y)
    assert model.coef_path_.shape == (model.n_iter_ + 1, 9)
    assert model.coef_path_.dtype == model.coef_.dtype
    np.testing.assert_array_equal(model.coef_path_[-1], model.coef_)
    first = model.coef_
    np.testing.assert_allclose(model.fit(digits.X, digits.y).coef_path_[0], first)


def test_estimates_are_those_of_the_thorough_search(digits, make_model):
    model = make_model().fit(digits.X, digits.y)
    smooth = diagnostics.smoothness(
        digits.X,
        model.coef_,
        model.certificate_.smoothness.angles,
        kernel_size=3,
        input_shape=(8, 8),
        random_state=0,
    )
    # The few samples are all of them; the search is shorter.
    assert model.gamma_ >= 0.5 * np.nanmin(smooth.gamma)
    assert model.L_ == pytest.approx(smooth.L.max(), rel=0.1)
    assert 0.5 * smooth.beta <= model.beta_ <= 1.1 * smooth.beta
    assert 0.5 * smooth.L_cross <= model.L_cross_ <= 1.1 * smooth.L_cross


def test_without_diagnostics_nothing_is_estimated(digits, make_model):
    model = make_model(diagnostics=False).fit(digits.X, digits.y)
    assert not any(hasattr(model, name) for name in (*NUMBERS, "certificate_"))
    with_them = make_model().fit(digits.X, digits.y)
    np.testing.assert_array_equal(with_them.coef_, model.coef_)
    # They are of a fit; a stream that goes on from it leaves it behind.
    with_them.partial_fit(digits.X, digits.y)
    assert not hasattr(with_them, "certificate_")


@pytest.mark.parametrize("case", ["constant", "few", "one", "huge", "tiny"])
def test_where_nothing_can_be_said_it_is_nan(case):
    X, y, _ = gaussian(2, n_samples=100)
    few = {"few": 9, "one": 1}.get(case, 100)
    scale = {"huge": 1e100, "tiny": 1e-100}.get(case, 1.0)
    X, y = scale * X[:few], np.ones(few) if case == "constant" else y[:few]
    model = ConvReLUFilterRegressor(random_state=0).fit(X, y)
    assert all(math.isnan(getattr(model, name)) for name in NUMBERS)
    assert model.certificate_ is None


def test_patches_of_one_entry_have_one_angle():
    X, y, _ = gaussian(3, patch_dim=1)
    model = ConvReLUFilterRegressor(random_state=0).fit(X, y)
    assert model.gamma_ == pytest.approx(model.L_)
    assert math.isnan(model.beta_)


def test_certificate_survives_a_pickle(digits, make_model):
    model = make_model().fit(digits.X, digits.y)
    copy = pickle.loads(pickle.dumps(model))
    assert str(copy.certificate_) == str(model.certificate_)


def test_same_seed_same_estimates(digits, make_model):
    first, second = (make_model().fit(digits.X, digits.y) for _ in range(2))
    np.testing.assert_equal(second.certificate_.to_dict(), first.certificate_.to_dict())


@pytest.mark.parametrize("solver", ["gd", "sgd"])
def test_theory_steps_contract_as_promised(solver):
    X, y, teacher = gaussian(1)
    model = paper_model(
        solver=solver,
        learning_rate="theory",
        init=teacher + 0.3 * np.linalg.norm(teacher) * np.array([0, 0.6, 0, 0.8, 0]),
        max_iter=60,
        tol=0,
        batch_size=2000,
    )
    model.fit(X, y)
    stages = model.history_["stage"][1:, 0]
    assert set(stages) == {"theory"}
    away = np.linalg.norm(model.coef_path_ - teacher, axis=1)
    factors = (away[1:] / away[:-1]) ** 2
    # Theorem 2.2 with its own constants at the start, estimated with care.
    promised = diagnostics.certificate(X, teacher, model.coef_path_[0], random_state=0)
    (check,) = [c for c in promised.checks if c.theorem == "Theorem 2.2"]
    assert check.verdict == "holds"
    rates = model.history_["learning_rate"][1:, 0]
    assert rates[0] == pytest.approx(check.step, rel=0.5)
    assert factors.max() < 1
    # Steps adapt: the nearer, the longer.
    assert (np.diff(rates) >= 0).all()
    assert rates[-1] > 1.1 * rates[0]


def test_theory_steps_hold_for_alike_patches():
    X, y, teacher = make_close_patches(
        3000, n_patches=3, patch_dim=4, spread=1e-4, return_teacher=True, random_state=0
    )
    start = teacher + 0.2 * np.linalg.norm(teacher) * np.array([0.6, 0, -0.8, 0])
    model = paper_model(solver="gd", learning_rate="theory", init=start, max_iter=30, tol=0)
    model.fit(X, y)
    away = np.linalg.norm(model.coef_path_ - teacher, axis=1)
    assert set(model.history_["stage"][1:, 0]) == {"theory"}
    assert (np.diff(away) < 0).all()


@pytest.mark.parametrize(
    "options",
    [{"fit_intercept": True}, {"alpha": 1e-3}, {"n_patches": 3}],
    ids=["intercept", "penalty", "independent patches"],
)
def test_where_no_theorem_speaks_the_steps_are_constant_and_it_says_so(options):
    options = dict(options)
    X, y, _ = gaussian(options.pop("n_patches", 1), n_samples=500)
    common = {"solver": "gd", "max_iter": 20, "tol": 0.0, **options}
    with pytest.warns(UserWarning, match="Theorem 3.1 allowed 0 of the 20 gradient"):
        model = paper_model(learning_rate="theory", **common).fit(X, y)
    constant = paper_model(learning_rate="constant", **common).fit(X, y)
    np.testing.assert_array_equal(
        model.history_["learning_rate"], constant.history_["learning_rate"]
    )
    np.testing.assert_array_equal(model.coef_, constant.coef_)
