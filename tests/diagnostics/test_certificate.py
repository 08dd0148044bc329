import dataclasses
import json
import math
from functools import lru_cache

import numpy as np
import pytest

from skconvfilter import ConvReLUFilterRegressor
from skconvfilter.diagnostics import certificate, restarts_needed
from skconvfilter.diagnostics.certificate import certificate_from_dict
from skconvfilter.diagnostics.theorems import Start
from skconvfilter.model.filter_objective import FilterObjective
from skconvfilter.model.forward import model_values
from skconvfilter.model.geometry import flatten_windows

PATCH_DIM = 5


def patches(n_patches, n_samples=2000):
    return np.random.default_rng(0).standard_normal((n_samples, n_patches, PATCH_DIM))


TEACHER = np.random.default_rng(1).standard_normal(PATCH_DIM)


def start_at(distance):
    away = np.random.default_rng(2).standard_normal(PATCH_DIM)
    return TEACHER + distance * np.linalg.norm(TEACHER) * away / np.linalg.norm(away)


@lru_cache
def certified(n_patches, distance=None):
    """The certificate of normal patches, for a start at a distance from the teacher."""
    start = None if distance is None else start_at(distance)
    return certificate(patches(n_patches), TEACHER, start, precision=1e-3, random_state=0)


def checks(result):
    return {check.theorem: check for check in result.checks}


def descend(X, w, step, n_steps):
    """Factors of the squared distance to the teacher in gradient steps."""
    samples, geometry = flatten_windows(X)
    labels = model_values(samples, geometry, TEACHER[:, np.newaxis])[:, 0]
    objective = FilterObjective(samples, geometry, labels, fit_intercept=False)
    distances = [np.linalg.norm(w - TEACHER)]
    for _ in range(n_steps):
        w = w - step * objective.gradient(w[:, np.newaxis], np.ones(1)).gradient[0]
        distances.append(np.linalg.norm(w - TEACHER))
    distances = np.array(distances)
    return (distances[1:] / distances[:-1]) ** 2, distances[-1] / np.linalg.norm(TEACHER)


@pytest.mark.slow
@pytest.mark.parametrize("theorem", ["Theorem 2.2", "Theorem 3.1"])
def test_one_patch_contracts_at_least_as_predicted(theorem):
    X, w = patches(1), start_at(0.5)
    check = checks(certified(1, 0.5))[theorem]
    assert check.verdict == "holds"
    factors, distance = descend(X, w, check.step, int(check.iterations))
    assert factors.max() <= check.contraction
    assert distance <= 1e-3


@pytest.mark.parametrize(
    ("g", "distance", "contraction", "iterations"),
    [
        (0.5, 0.1, 0.75, 81),  # ceil(2 log(1e5) / -log(0.75))
        (1.0, 0.1, 0.0, 1),
        (1 + 1e-15, 0.1, 0.0, 1),  # larger than G by rounding
        (0.5, 1e-6, 0.75, 0),
        (1.0, 1e-7, 0.0, 0),
    ],
)
def test_iterations_that_constants_guarantee(g, distance, contraction, iterations):
    rate = Start(distance, distance, precision=1e-6).guaranteed_rate(g, 1.0)
    assert rate == {"step": g, "contraction": contraction, "iterations": iterations}


@pytest.mark.slow
@pytest.mark.parametrize("n_patches", [1, 2])
def test_one_point_convexity_predicts_what_theorem_3_1_cannot(n_patches):
    X, w = patches(n_patches), start_at(0.5)
    found = checks(certified(n_patches, 0.5))
    if n_patches > 1:
        # Vacuous for independent Gaussian patches: gamma(0) < 6 L_cross.
        assert found["Theorem 3.1"].verdict == "refuted"
        assert math.isnan(found["Theorem 3.1"].step)
        assert found["Theorem 2.2"].verdict == "does not apply"
    check = found["One-point convexity"]
    assert check.verdict == "may hold"
    factors, distance = descend(X, w, check.step, int(check.iterations))
    assert factors.max() <= check.contraction + 0.01
    assert distance <= 1e-3


@pytest.mark.slow
def test_loss_of_the_start_is_compared_with_that_of_0():
    below, above = (
        checks(certificate(patches(1, 500), TEACHER, scale * TEACHER))["Theorem 2.1"]
        for scale in (0.5, -2.0)
    )
    assert below.verdict == "may hold"
    assert above.verdict == "refuted"
    # l is 0 at the teacher, l(c w*) = (1 - c)**2 l(0) for c > 0.
    assert below.numbers["l(w_0) / l(0)"] == pytest.approx(0.25)


@pytest.mark.slow
def test_theorem_3_3_bounds_l_cross_of_patches_of_one_length():
    X = patches(3)
    X = 3 * X / np.linalg.norm(X, axis=2, keepdims=True)
    result = certificate(X, TEACHER, random_state=0)
    check = checks(result)["Theorem 3.3"]
    assert check.verdict == "may hold"
    assert check.numbers["bound of L_cross"] > result.smoothness.L_cross
    # P(within phi of the boundary) is about 2 phi times the density of the angle there.
    density = 3 / 4
    assert check.numbers["mu"] == pytest.approx(2 * density, rel=0.1)


@pytest.mark.slow
def test_near_the_teacher_too_l_cross_is_that_of_all_angles():
    # Hardly a patch lies between such a start and the teacher.
    found = checks(certificate(patches(2, 1000), TEACHER, 0.95 * TEACHER, random_state=0))
    assert found["Theorem 3.1"].verdict == "refuted"
    assert found["Theorem 3.1"].numbers["6 L_cross"] > 0.3
    assert math.isnan(found["Theorem 3.2"].numbers["phi* of the angles evaluated"])


@pytest.mark.slow
def test_theorem_3_3_needs_patches_of_one_length():
    assert checks(certified(2))["Theorem 3.3"].verdict == "does not apply"


@pytest.mark.slow
def test_corollary_3_1_follows_from_phi_star():
    few, many = (checks(certified(k))["Corollary 3.1"] for k in (1, 2))
    # One patch: gamma >= 0 = L_cross up to pi/2, so a small ball will do.
    assert few.verdict == "may hold"
    assert few.numbers["cos(phi*)"] == pytest.approx(0, abs=1e-12)
    assert few.numbers["the paper's bound of it"] == pytest.approx(0.5)
    assert many.verdict == "refuted"


def test_start_beyond_the_norm_of_the_teacher_refutes():
    found = checks(certified(1, 1.2))
    assert found["Theorem 2.2"].verdict == "refuted"
    assert found["Theorem 3.1"].verdict == "refuted"


def test_without_a_start_it_is_that_of_theorem_3_4():
    result = certified(1)
    alpha = 1 / math.sqrt(2 * math.pi * PATCH_DIM)
    assert result.relative_distance == pytest.approx(math.sqrt(1 - alpha**2))
    assert result.phi_0 == pytest.approx(math.acos(alpha))
    numbers = checks(result)["Theorem 3.4"].numbers
    probability = numbers["probability of |w_0 - w*| <= |w*| sqrt(1 - radius**2)"]
    assert numbers["starts needed for 99 %"] == restarts_needed(probability)
    assert numbers["the paper's bound of it"] <= probability


def test_start_at_the_teacher_needs_no_steps():
    result = certificate(patches(1), TEACHER, TEACHER, random_state=0)
    assert result.relative_distance == 0
    assert result.checks[1].iterations == 0


@pytest.mark.slow
def test_report_names_every_theorem_and_its_verdict():
    result = certified(2, 0.5)
    report = str(result)
    for check in result.checks:
        assert f"{check.theorem}: {check.verdict}" in report


@pytest.mark.slow
def test_path_of_gradient_descent_is_compared_with_the_rate():
    X, w = patches(2), start_at(0.5)
    guaranteed = checks(certified(2, 0.5))["One-point convexity"]
    samples, geometry = flatten_windows(X)
    labels = model_values(samples, geometry, TEACHER[:, np.newaxis])[:, 0]
    objective = FilterObjective(samples, geometry, labels, fit_intercept=False)
    filters = [w]
    for _ in range(200):
        gradient = objective.gradient(filters[-1][:, np.newaxis], np.ones(1)).gradient[0]
        filters.append(filters[-1] - guaranteed.step * gradient)
    result = certificate(X, TEACHER, path=filters, precision=0.1, random_state=0)
    path = result.path
    away = np.linalg.norm(np.array(filters) - TEACHER, axis=1)
    np.testing.assert_allclose(path.distances, away / np.linalg.norm(TEACHER))
    assert result.relative_distance == pytest.approx(path.distances[0])
    (reached,) = [t for t in range(201) if t == path.iterations]
    assert path.distances[reached] <= 0.1 < path.distances[reached - 1]
    assert np.isfinite(path.contractions[:reached]).all()
    assert np.isnan(path.contractions[reached:]).all()
    assert np.nanmax(path.contractions) <= guaranteed.contraction
    # All samples were evaluated: |v - step g|**2 with g the gradient at v from the teacher.
    for t in range(reached):
        v = filters[t] - TEACHER
        g = (filters[t] - filters[t + 1]) / guaranteed.step
        assert path.convexities[t] == pytest.approx(v @ g / (v @ v))
    assert "at worst" in str(result)
    assert_same(certificate_from_dict(result.to_dict()), result)


def assert_same(one, other):
    """Dataclasses of the same kinds and the same bits."""
    assert type(one) is type(other)
    if dataclasses.is_dataclass(one):
        for field in dataclasses.fields(one):
            assert_same(getattr(one, field.name), getattr(other, field.name))
    elif isinstance(one, tuple):
        for a, b in zip(one, other, strict=True):
            assert_same(a, b)
    else:
        np.testing.assert_equal(one, other)


def test_dict_is_inverted_and_can_be_written_as_json():
    result = certified(2, 0.5)
    fields = result.to_dict()
    assert_same(certificate_from_dict(fields), result)
    written = json.loads(json.dumps(fields, default=np.ndarray.tolist))
    assert [c["theorem"] for c in written["checks"]] == [c.theorem for c in result.checks]
    assert written["smoothness"]["gamma"]["value"] == result.smoothness.gamma.value.tolist()
    with pytest.raises(ValueError, match="not the fields of a certificate"):
        certificate_from_dict({**fields, "smoothness": {"gamma": 1.0}})
    with pytest.raises(ValueError, match="not the fields of a certificate"):
        certificate_from_dict({**fields, "colour": "red"})


def test_fitted_estimator_stands_for_its_filter_and_its_window():
    images = np.random.default_rng(0).standard_normal((200, 12))
    model = ConvReLUFilterRegressor(2, stride=2)
    model.coef_ = np.array([1.0, 2.0])
    given = certificate(images.reshape(200, 6, 2), model.coef_, random_state=0)
    np.testing.assert_equal(
        certificate(images, model, random_state=0).to_dict(), given.to_dict()
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"precision": 0.0}, "precision must be positive"),
        ({"precision": 1e-13}, "precision must be at least 1e-12"),
        ({"initial": np.ones(PATCH_DIM - 1)}, "initial must have the shape"),
        ({"initial": np.full(PATCH_DIM, np.inf)}, "initial must be finite"),
        ({"path": np.ones((4, PATCH_DIM - 1))}, "path must have the shape"),
        ({"path": np.ones(PATCH_DIM)}, "path must have the shape"),
        ({"path": np.ones((0, PATCH_DIM))}, "path must have the shape"),
        ({"path": np.full((2, PATCH_DIM), np.nan)}, "path must be finite"),
        ({"path": np.ones((2, PATCH_DIM)), "initial": np.ones(PATCH_DIM)}, "not both"),
        ({"path": np.full((2, PATCH_DIM), 1e80)}, "Rescale path"),
        ({"teacher": np.zeros(PATCH_DIM)}, "teacher is zero"),
    ],
)
def test_bad_input_is_named(arguments, message):
    good = {"X": patches(1, 100), "teacher": TEACHER}
    with pytest.raises(ValueError, match=message):
        certificate(**(good | arguments))
