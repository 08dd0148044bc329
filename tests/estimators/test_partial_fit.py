"""Learning from a stream."""

import numpy as np
import pytest

from skconvfilter import ConvFilterBankRegressor, ConvReLUFilterRegressor
from tests.estimators.cases import DIGITS, label


def stream(model, X, y, sample_weight=None, *, block=100):
    """Pass the samples to `partial_fit` in blocks."""
    for start in range(0, len(X), block):
        rows = slice(start, start + block)
        weights = None if sample_weight is None else sample_weight[rows]
        model.partial_fit(X[rows], y[rows], weights)
    return model


def distance(model, teacher):
    """Relative error of the filter."""
    error = model.coef_ - np.ravel(teacher)
    return np.linalg.norm(error) / np.linalg.norm(teacher)


def make_model(**params):
    """A regressor for images of four rows and six columns."""
    common = {"kernel_size": 3, "input_shape": (4, 6), "diagnostics": False}
    return ConvReLUFilterRegressor(**(common | {"random_state": 0} | params))


def make_stream(n_samples=2500, *, sign=1, seed=0, **options):
    """Normal images, targets, and the filter that made them."""
    X = np.random.default_rng(seed).standard_normal((n_samples, 24))
    data = label(make_model(), X, signs=[sign], seed=seed, **({"intercept": 2.0} | options))
    return X, data.y, data.teacher[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("n_samples", "block", "sign"),
    [(500, 1, 1), (1400, 7, -1), (2500, 100, 1), (2500, 100, -1), (2500, 2500, 1)],
)
def test_stream_leads_to_the_teacher(n_samples, block, sign):
    X, y, teacher = make_stream(n_samples, sign=sign)
    model = stream(make_model(), X, y, block=block)
    assert distance(model, teacher) < 0.05
    assert model.sign_ == sign
    assert model.intercept_ == pytest.approx(2, abs=0.05)
    assert model.n_samples_seen_ == n_samples
    assert model.n_iter_ == -(-n_samples // block)


def test_stream_of_digits_leads_to_the_teacher(all_digits):
    model = stream(make_model(**DIGITS), all_digits.X, all_digits.y)
    assert distance(model, all_digits.teacher) < 0.2
    for _ in range(4):
        stream(model, all_digits.X, all_digits.y)
    assert distance(model, all_digits.teacher) < 0.01


def test_stream_approaches_the_fit_of_all_the_data():
    X, y, _ = make_stream(4000, snr=2)
    fitted = make_model().fit(X, y)
    streamed = stream(make_model(), X, y)
    # Both err by the noise, and by less from each other.
    assert distance(streamed, fitted.coef_) < 0.06
    assert streamed.score(X, y) == pytest.approx(fitted.score(X, y), abs=0.005)
    # Errors on samples not yet seen.
    assert streamed.loss_ == pytest.approx(fitted.loss_, rel=0.1)


def test_solver_plays_no_part():
    X, y, _ = make_stream(300)
    models = [
        stream(make_model(solver=solver, polish=polish, max_iter=1), X, y)
        for solver, polish in [("sgd", True), ("gd", False), ("levenberg-marquardt", True)]
    ]
    for model in models[1:]:
        np.testing.assert_array_equal(model.coef_, models[0].coef_)


@pytest.mark.parametrize("form", ["patches", "windows"])
def test_every_form_of_samples_gives_the_same_stream(form, digits):
    expected = stream(make_model(**DIGITS), digits.X, digits.y)
    patches = {"kernel_size": None, "input_shape": None}
    model = stream(make_model(**patches), getattr(digits, form), digits.y)
    np.testing.assert_allclose(model.coef_, expected.coef_, rtol=1e-6)
    # The number of patches may change on the way.
    model.partial_fit(digits.patches[:50, :7], digits.y[:50])


def test_single_precision_stays_so():
    X, y, teacher = make_stream()
    X = X.astype(np.float32)
    model = stream(make_model(), X, y)
    assert model.coef_.dtype == model.predict(X).dtype == np.float32
    assert distance(model, teacher) < 0.02
    # A stream may change its precision on the way.
    assert model.partial_fit(X.astype(np.float64), y).coef_.dtype == np.float64
    assert distance(model, teacher) < 0.02


def test_one_sample_is_a_beginning():
    X, y, teacher = make_stream()
    model = make_model().partial_fit(X[:1], y[:1])
    assert model.n_samples_seen_ == model.n_iter_ == 1
    assert np.isfinite(model.coef_).all()
    assert np.isfinite(model.predict(X)).all()
    assert distance(stream(model, X[1:], y[1:]), teacher) < 0.02


@pytest.mark.parametrize(
    ("first_X", "first_y"),
    [
        (np.zeros((20, 24)), np.zeros(20)),
        (np.ones((20, 24)), np.linspace(1, 2, 20)),
    ],
    ids=["zeros", "constant"],
)
def test_stream_survives_a_poor_beginning(first_X, first_y):
    X, y, teacher = make_stream()
    model = make_model().partial_fit(first_X, first_y)
    for _ in range(3):
        stream(model, X, y)
    assert distance(model, teacher) < 0.05


def test_stream_goes_on_after_a_fit():
    X, y, teacher = make_stream()
    model = make_model(polish=False, max_iter=1)
    with pytest.warns(match="max_iter"):
        model.fit(X[:500], y[:500])
    before = distance(model, teacher)
    assert before > 1e-3
    model.partial_fit(X[500:600], y[500:600])
    assert model.n_samples_seen_ == 600
    stream(model, X[600:], y[600:])
    assert distance(model, teacher) < before / 2
    assert not hasattr(model, "history_")

    model = make_model().fit(X[:500], y[:500])
    stream(model, X[500:], y[500:])
    # At the teacher it stays there.
    assert distance(model, teacher) < 1e-9


def test_stream_goes_on_after_a_fit_of_constant_targets():
    X, y, teacher = make_stream()
    model = make_model().fit(X[:50], np.full(50, 4.0))
    assert distance(stream(model, X, y), teacher) < 0.1


def test_stream_follows_a_change_of_teacher():
    X, y, _ = make_stream(300)
    model = stream(make_model(), X, y)
    X, y, teacher = make_stream(6000, seed=5)
    assert distance(stream(model, X, y), teacher) < 0.05


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 34])
def test_stream_of_digits_follows_a_change_of_teacher(all_digits, seed):
    # Where all filters had come to one minimum, these stayed at R^2 of .2 to .6.
    rng = np.random.default_rng(seed)
    model = make_model(**DIGITS)
    for n_samples in (2000, 20_000):
        X = all_digits.X[rng.integers(len(all_digits.X), size=n_samples)]
        data = label(model, X, signs=[rng.choice([-1, 1])], seed=seed + n_samples, snr=400)
        model.partial_fit(X, data.y)
    assert model.score(X, data.y) > 0.97
    assert len(model._stream["signs"]) == model.n_init


def test_early_stopping_hides_partial_fit(digits):
    model = make_model(**DIGITS, early_stopping=True)
    assert not hasattr(model, "partial_fit")
    with pytest.raises(AttributeError, match="partial_fit") as raised:
        model.partial_fit(digits.X, digits.y)
    cause = str(raised.value.__cause__)
    assert "early_stopping=True needs all the data" in cause
    assert hasattr(model.set_params(early_stopping=False), "partial_fit")


def test_zero_weight_leaves_a_sample_out():
    X, y, _ = make_stream(600)
    weights = np.tile([0.0, 1.0, 1.0], 200)
    y = np.where(weights > 0, y, 1e6)
    model, expected = make_model(), make_model()
    for start in range(0, 600, 60):
        rows = np.arange(start, start + 60)
        kept = rows[weights[rows] > 0]
        model.partial_fit(X[rows], y[rows], weights[rows])
        expected.partial_fit(X[kept], y[kept])
    np.testing.assert_allclose(model.coef_, expected.coef_, rtol=1e-9)
    assert model.n_samples_seen_ == expected.n_samples_seen_ == 400


def test_heavy_samples_count_for_more():
    X, y, teacher = make_stream(4000)
    noise = np.random.RandomState(0).standard_normal(4000)
    noisy = np.arange(4000) % 2 == 0
    weights = np.where(noisy, 1e-3, 1.0)
    y = y + noisy * noise
    weighted = stream(make_model(), X, y, weights)
    assert distance(weighted, teacher) < 0.2 * distance(stream(make_model(), X, y), teacher)


@pytest.mark.parametrize("unit", [1e-300, 1e-3, 1e6, 1e308])
def test_only_ratios_of_weights_matter(unit):
    X, y, _ = make_stream()
    model = stream(make_model(), X, y, np.full(2500, unit))
    expected = stream(make_model(), X, y)
    np.testing.assert_allclose(model.coef_, expected.coef_, rtol=1e-4)
    assert model.intercept_ == pytest.approx(expected.intercept_, rel=1e-4)


@pytest.mark.parametrize("weight", [1e-200, 1e200])
def test_weights_far_from_those_of_the_first_block_are_refused(weight):
    X, y, _ = make_stream(200)
    model = make_model().partial_fit(X, y)
    expected = model.coef_
    with pytest.raises(ValueError, match=r"sample_weight.*first block.*ratios"):
        model.partial_fit(X, y, weight)
    assert model.coef_ is expected


@pytest.mark.parametrize("unit", [1e-15, 1e15])
def test_units_of_samples_and_targets_do_not_matter(unit):
    X, y, teacher = make_stream()
    assert distance(stream(make_model(), X * unit, y), teacher / unit) < 0.02
    assert distance(stream(make_model(), X, y * unit), teacher * unit) < 0.02


@pytest.mark.parametrize("offset", [10.0, -1e3, 1e6])
def test_offset_of_targets_does_not_matter(offset):
    X, y, teacher = make_stream()
    model = stream(make_model(), X, y + offset)
    assert distance(model, teacher) < 0.02
    assert model.intercept_ == pytest.approx(offset + 2, abs=0.05)


def test_penalty_shrinks_the_filter():
    X, y, _ = make_stream()
    fitted = make_model(alpha=0.01).fit(X, y)
    streamed = stream(make_model(alpha=0.01), X, y)
    assert distance(streamed, fitted.coef_) < 0.05


def test_without_intercept():
    X, y, teacher = make_stream(intercept=0.0)
    model = stream(make_model(fit_intercept=False, output_sign=1), X, y)
    assert model.intercept_ == 0
    assert distance(model, teacher) < 0.02


def test_random_state_decides_a_stream(digits):
    few = digits.take(5)

    def coef(seed):
        return make_model(**DIGITS, random_state=seed).partial_fit(few.X, few.y).coef_

    np.testing.assert_array_equal(coef(1), coef(1))
    assert not np.array_equal(coef(1), coef(2))


def test_a_window_changed_since_is_refused():
    X, y, _ = make_stream(60)
    model = make_model().partial_fit(X, y)
    with pytest.raises(ValueError, match=r"coef_ has shape .*patch_dim=4"):
        model.set_params(kernel_size=2).partial_fit(X, y)


def test_a_bank_has_no_stream():
    assert not hasattr(ConvFilterBankRegressor(), "partial_fit")
