"""The attributes of `diagnostics` of one filter, and the steps of the theorems."""

import math

import numpy as np
import pytest

from skconvfilter import ConvReLUFilterRegressor, diagnostics
from tests.estimators.cases import label, make_digits_model

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

NUMBERS = ("gamma_", "L_", "beta_", "L_cross_", "phi_0_")
PAPER = {"fit_intercept": False, "output_sign": 1, "polish": False}


def gaussian(n_patches, n_samples=2000, patch_dim=5, scale=1.0):
    """Normal patches and targets of a random filter."""
    X = np.random.default_rng(0).standard_normal((n_samples, n_patches, patch_dim))
    return label(ConvReLUFilterRegressor(), scale * X)


def paper_model(**options):
    return ConvReLUFilterRegressor(**(PAPER | {"random_state": 0} | options))


@pytest.fixture(scope="module")
def fitted(digits):
    return make_digits_model().fit(digits.X, digits.y)


@pytest.mark.parametrize("n_patches", [1, 4])
@pytest.mark.parametrize("scale", [1.0, 1e-15, 1e15])
def test_attributes_are_near_the_closed_forms(n_patches, scale):
    data = gaussian(n_patches, scale=scale)
    model = ConvReLUFilterRegressor(random_state=0).fit(data.X, data.y)
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


def test_certificate_is_that_of_the_path_of_the_best_restart(fitted):
    report = fitted.certificate_
    away = np.linalg.norm(fitted.coef_path_ - fitted.coef_, axis=1)
    distances = away / np.linalg.norm(fitted.coef_)
    np.testing.assert_allclose(report.path.distances, distances, atol=1e-12)
    angles = fitted.history_["angle"][:, fitted.best_restart_]
    np.testing.assert_allclose(report.path.angles, angles[np.isfinite(angles)], atol=1e-9)
    assert report.relative_distance == pytest.approx(distances[0])
    if distances[0] < 1:
        assert fitted.phi_0_ == pytest.approx(math.asin(distances[0]))
    else:
        assert math.isnan(fitted.phi_0_)
    assert {check.theorem for check in report.checks} >= {"Theorem 3.1", "Theorem 3.4"}
    assert "Path:" in str(report)


@pytest.mark.slow
def test_estimates_are_those_of_the_thorough_search(fitted, digits):
    angles = fitted.certificate_.smoothness.angles
    smooth = diagnostics.smoothness(digits.X, fitted, angles, random_state=0)
    # The few samples are all of them; the search is shorter.
    assert fitted.gamma_ >= 0.5 * np.nanmin(smooth.gamma.value)
    assert fitted.L_ == pytest.approx(smooth.L.value.max(), rel=0.1)
    assert 0.5 * smooth.beta <= fitted.beta_ <= 1.1 * smooth.beta
    assert 0.5 * smooth.L_cross <= fitted.L_cross_ <= 1.1 * smooth.L_cross


def test_a_stream_leaves_the_theory_of_a_fit_behind(digits):
    model = make_digits_model().fit(digits.X, digits.y).partial_fit(digits.X, digits.y)
    assert not any(hasattr(model, name) for name in (*NUMBERS, "certificate_"))


@pytest.mark.parametrize("case", ["constant", "few", "one"])
def test_where_nothing_can_be_said_it_is_nan(case):
    data = gaussian(2, n_samples=100)
    data = data.take({"few": 9, "one": 1}.get(case, 100))
    y = np.ones(100) if case == "constant" else data.y
    model = ConvReLUFilterRegressor(random_state=0).fit(data.X, y)
    assert all(math.isnan(getattr(model, name)) for name in NUMBERS)
    assert model.certificate_ is None


def test_patches_of_one_entry_have_one_angle():
    data = gaussian(3, patch_dim=1)
    model = ConvReLUFilterRegressor(random_state=0).fit(data.X, data.y)
    assert model.gamma_ == pytest.approx(model.L_)
    assert math.isnan(model.beta_)


def test_same_seed_same_estimates(fitted, digits):
    second = make_digits_model().fit(digits.X, digits.y)
    np.testing.assert_equal(second.certificate_.to_dict(), fitted.certificate_.to_dict())


# Steps ------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("solver", ["gd", "sgd"])
def test_theory_steps_contract_as_promised(solver):
    data = gaussian(1)
    teacher = data.teacher[0]
    start = teacher + 0.3 * np.linalg.norm(teacher) * np.array([0, 0.6, 0, 0.8, 0])
    params = {"init": start, "max_iter": 60, "tol": 0, "batch_size": 2000}
    model = paper_model(solver=solver, learning_rate="theory", **params)
    model.fit(data.X, data.y)
    assert set(model.history_["stage"][1:, 0]) == {"theory"}
    away = np.linalg.norm(model.coef_path_ - teacher, axis=1)
    # Theorem 2.2 with its own constants at the start, estimated with care.
    promised = diagnostics.certificate(data.X, teacher, start, random_state=0)
    (check,) = [c for c in promised.checks if c.theorem == "Theorem 2.2"]
    assert check.verdict == "holds"
    rates = model.history_["learning_rate"][1:, 0]
    assert rates[0] == pytest.approx(check.step, rel=0.5)
    assert (np.diff(away) < 0).all()
    # Steps adapt: the nearer, the longer.
    assert (np.diff(rates) >= 0).all()
    assert rates[-1] > 1.1 * rates[0]


def test_theory_steps_hold_for_similar_patches():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((3000, 1, 4)) + 1e-4 * rng.standard_normal((3000, 3, 4))
    data = label(ConvReLUFilterRegressor(), X)
    teacher = data.teacher[0]
    start = teacher + 0.2 * np.linalg.norm(teacher) * np.array([0.6, 0, -0.8, 0])
    model = paper_model(solver="gd", learning_rate="theory", init=start, max_iter=30, tol=0)
    model.fit(data.X, data.y)
    away = np.linalg.norm(model.coef_path_ - teacher, axis=1)
    assert set(model.history_["stage"][1:, 0]) == {"theory"}
    assert (np.diff(away) < 0).all()


@pytest.mark.parametrize(
    ("n_patches", "options"),
    [(1, {"fit_intercept": True}), (1, {"alpha": 1e-3}), (3, {})],
    ids=["intercept", "penalty", "independent patches"],
)
def test_where_no_theorem_applies_the_steps_are_constant_with_a_warning(n_patches, options):
    data = gaussian(n_patches, n_samples=500)
    common = {"solver": "gd", "max_iter": 20, "tol": 0.0, **options}
    with pytest.warns(UserWarning, match="Theorem 3.1 allowed 0 of the 20 gradient"):
        model = paper_model(learning_rate="theory", **common).fit(data.X, data.y)
    constant = paper_model(learning_rate="constant", **common).fit(data.X, data.y)
    rates = constant.history_["learning_rate"]
    np.testing.assert_array_equal(model.history_["learning_rate"], rates)
    np.testing.assert_array_equal(model.coef_, constant.coef_)
