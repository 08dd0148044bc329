import numpy as np
import pytest

from skconvfilter import ConvFilterBankRegressor, ConvPatchExtractor
from skconvfilter.datasets import make_filter_bank_regression
from skconvfilter.diagnostics import local_convexity
from skconvfilter.model.activations import ACTIVATIONS

SMOOTH = ["sigmoid", "tanh", "erf"]


def random_problem(n_samples=200, n_patches=3, patch_dim=4, n_filters=2, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n_samples, n_patches, patch_dim))
    return X, rng.standard_normal((n_filters, patch_dim))


def bank(activation, pooling="sum"):
    return ConvFilterBankRegressor(activation=activation, pooling=pooling)


def values_by_formula(patches, coef, name, v, pooling):
    activations = ACTIVATIONS[name].value(patches @ coef.T) @ v
    return activations.sum(axis=1) if pooling == "sum" else activations.mean(axis=1)


def gradients_by_formula(patches, coef, name, v, pooling):
    """Of the values by all entries, filter by filter: shape (n, t * p)."""
    slopes = ACTIVATIONS[name].derivative(patches @ coef.T) * v
    gradients = np.einsum("nkt,nkp->ntp", slopes, patches).reshape(len(patches), -1)
    return gradients if pooling == "sum" else gradients / patches.shape[1]


def loss_gradient(patches, flat_coef, y, *bank):
    coef = flat_coef.reshape(-1, patches.shape[2])
    errors = values_by_formula(patches, coef, *bank) - y
    return gradients_by_formula(patches, coef, *bank).T @ errors / len(patches)


def relu_hessian(coef, n_patches):
    """Of the population, for independent standard normal patches and the sum over them."""
    units = coef / np.linalg.norm(coef, axis=1, keepdims=True)
    t, p = coef.shape
    hessian = np.empty((t, p, t, p))
    for j, u in enumerate(units):
        for m, v in enumerate(units):
            angle = np.arccos(np.clip(u @ v, -1, 1))
            wedge = (np.pi - angle) / (2 * np.pi) * np.eye(p)
            if j != m:
                middle, across = u + v, u - v
                middle, across = (a / np.linalg.norm(a) for a in (middle, across))
                outer = np.outer(middle, middle) - np.outer(across, across)
                wedge += np.sin(angle) / (2 * np.pi) * outer
            pairs = n_patches * (n_patches - 1) / (2 * np.pi)
            hessian[j, :, m] = n_patches * wedge + pairs * np.outer(u, v)
    return hessian.reshape(t * p, t * p)


def extremes(hessian):
    eigenvalues = np.linalg.eigvalsh(hessian)
    return eigenvalues[[0, -1]]


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("pooling", ["sum", "mean"])
@pytest.mark.parametrize("v", [None, [1, -1]])
def test_hessian_is_that_of_the_formula(name, pooling, v):
    X, coef = random_problem()
    result = local_convexity(X, coef, estimator=bank(name, pooling), output_weights=v)
    J = gradients_by_formula(X, coef, name, np.array(v or [1, 1]), pooling)
    expected = extremes(J.T @ J / len(X))
    np.testing.assert_allclose(result.hessian_extremes, expected, rtol=1e-10)


@pytest.mark.parametrize("name", SMOOTH)
@pytest.mark.parametrize("pooling", ["sum", "mean"])
@pytest.mark.parametrize("errors", [False, True])
def test_hessian_is_that_of_finite_differences(name, pooling, errors):
    X, coef = random_problem(n_samples=50)
    model = (name, np.array([1, -1]), pooling)
    values = values_by_formula(X, coef, *model)
    y = np.random.default_rng(1).standard_normal(50) if errors else values
    step, entries = 1e-5, np.eye(coef.size)
    differences = [
        loss_gradient(X, coef.ravel() + step * entry, y, *model)
        - loss_gradient(X, coef.ravel() - step * entry, y, *model)
        for entry in entries
    ]
    given = {"estimator": bank(name, pooling), "output_weights": [1, -1]}
    result = local_convexity(X, coef, y=y if errors else None, **given)
    expected = extremes(np.array(differences) / (2 * step))
    np.testing.assert_allclose(result.hessian_extremes, expected, rtol=1e-5, atol=1e-8)
    if errors:
        without = local_convexity(X, coef, **given)
        assert not np.allclose(without.hessian_extremes, expected, rtol=1e-3)


def test_output_scale_of_a_fitted_bank_counts():
    X, coef = random_problem()
    unit, scaled = bank("tanh"), bank("tanh")
    unit.coef_ = scaled.coef_ = coef
    unit.output_weights_ = scaled.output_weights_ = np.array([1, -1])
    scaled.output_scale_ = 3.0
    first, second = local_convexity(X, unit), local_convexity(X, scaled)
    for name in ("hessian_extremes", "orders"):
        expected = 9 * np.array(getattr(first, name))
        np.testing.assert_allclose(getattr(second, name), expected)
    assert first.rho == second.rho


def test_errors_bend_the_loss_of_the_squared_relu():
    # One filter, one patch: 1/2 (w^2 z^2 - y)^2 has 6 w^2 z^4 - 2 y z^2 for z > 0.
    z, w, y = np.array([0.5, 1.0, 2.0, -1.0]), 0.7, np.array([1.0, 0.0, -2.0, 3.0])
    result = local_convexity(z[:, np.newaxis], [[w]], y=y, estimator=bank("squared_relu"))
    expected = np.mean(np.where(z > 0, 6 * w**2 * z**4 - 2 * y * z**2, 0))
    np.testing.assert_allclose(result.hessian_extremes, expected)


@pytest.mark.parametrize("n_patches", [1, 4])
def test_relu_hessian_is_that_of_normal_patches(n_patches):
    X, coef = random_problem(20_000, n_patches, patch_dim=5, n_filters=3)
    expected = relu_hessian(coef, n_patches)
    result = local_convexity(X, coef, max_samples=len(X))
    np.testing.assert_allclose(result.hessian_extremes, extremes(expected), rtol=0.06)
    J = gradients_by_formula(X, coef, "relu", np.ones(3), "sum")
    # Every entry within its own noise, and the least eigenvalue in its own direction.
    mean, power = J.T @ J / len(X), (J**2).T @ J**2 / len(X)
    z = (mean - expected) / np.sqrt((power - mean**2) / len(X))
    assert np.abs(z).max() < 4.5
    for vector in np.linalg.eigh(expected)[1].T[[0, -1]]:
        squares = (J @ vector) ** 2
        noise = squares.std() / np.sqrt(len(X))
        assert abs(squares.mean() - vector @ expected @ vector) < 4 * noise


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_eigenvalues_of_normal_patches_lie_within_the_orders(name):
    window = {"kernel_size": 8, "stride": 8, "input_shape": (24,)}
    model = ConvFilterBankRegressor(**window, activation=name)
    X, _, teacher = make_filter_bank_regression(
        5000, model, return_teacher=True, random_state=0
    )
    result = local_convexity(X, teacher, estimator=model)
    low, high = result.orders
    # Constants aside: here they favour the theorem.
    assert low < result.hessian_extremes[0] < result.hessian_extremes[1] < high


# The rho of theory at s = 1, and the growth of the derivative.
@pytest.mark.parametrize(
    ("name", "rho", "growth"),
    [
        ("relu", 0.090845, 0),
        ("squared_relu", 0.27324, 1),
        ("erf", 0.066725, 0),
        ("sigmoid", 0.002144, 0),
        ("tanh", 0.049193, 0),
    ],
)
def test_constants_are_those_of_the_singular_values(name, rho, growth):
    rng = np.random.default_rng(0)
    left, right = np.linalg.qr(rng.standard_normal((3, 3)))[0], np.eye(3, 5)
    coef = left @ np.diag([1.0, 2.0, 4.0]) @ right
    X = rng.standard_normal((10, 6, 5))
    result = local_convexity(X, coef, estimator=bank(name))
    np.testing.assert_allclose(result.singular_values, [4, 2, 1])
    assert result.condition_number == pytest.approx(4)
    assert result.lambda_ == pytest.approx(8)
    assert result.rho == pytest.approx(rho, rel=1e-4)
    low, high = result.orders
    assert low == pytest.approx(6 * result.rho / (16 * 8))
    assert high == pytest.approx(3 * 36 * 16**growth)
    mean = local_convexity(X, coef, estimator=bank(name, "mean"))
    np.testing.assert_allclose(mean.orders, np.array(result.orders) / 36)
    np.testing.assert_allclose(
        mean.hessian_extremes, np.array(result.hessian_extremes) / 36, atol=1e-14
    )


@pytest.mark.parametrize(
    "coef", [[[1.0, 2.0, 0.0], [2.0, 4.0, 0.0]], np.ones((4, 3)), np.zeros((2, 3))]
)
def test_dependent_filters_have_no_condition_number(coef):
    result = local_convexity(np.random.default_rng(0).standard_normal((20, 3)), coef)
    assert result.singular_values[-1] == 0
    assert result.condition_number == result.lambda_ == np.inf
    assert np.isnan(result.rho)
    assert result.orders[0] == 0
    assert "kappa = inf" in str(result)


def test_lambda_may_overflow():
    coef = np.diag(np.append(np.full(40, 1e10), 1.0))
    result = local_convexity(np.eye(41), coef)
    assert result.lambda_ == np.inf
    assert result.condition_number == 1e10
    assert result.orders[0] == 0


def test_padded_images_have_the_patches_of_the_convolution():
    X = np.arange(1.0, 5.0)[np.newaxis]
    window = ConvPatchExtractor(3, input_shape=(4,), stride=2, padding=1)
    result = local_convexity(X, [[1.0, 1.0, 1.0]], estimator=window)
    # One sample: the squared length of its sum of active patches.
    assert result.hessian_extremes[1] == pytest.approx(2**2 + (1 + 3) ** 2 + (2 + 4) ** 2)


def test_subsample_is_drawn_with_its_targets():
    X, coef = random_problem(300)
    assert local_convexity(X, coef).n_samples == 300
    some = [local_convexity(X, coef, max_samples=100, random_state=i) for i in (0, 0, 1)]
    assert [result.n_samples for result in some] == [100] * 3
    assert some[0].hessian_extremes == some[1].hessian_extremes
    assert some[0].hessian_extremes != some[2].hessian_extremes
    y = values_by_formula(X, coef, "tanh", np.ones(2), "sum")
    kwargs = {"max_samples": 50, "random_state": 0, "estimator": bank("tanh")}
    own = local_convexity(X, coef, **kwargs)
    same = local_convexity(X, coef, y=y, **kwargs)
    np.testing.assert_allclose(same.hessian_extremes, own.hessian_extremes, rtol=1e-10)


def test_few_samples_leave_flat_directions():
    X, coef = random_problem(n_samples=7)
    smallest, largest = local_convexity(X, coef).hessian_extremes
    assert abs(smallest) < 1e-14 * largest


def test_result_is_printed():
    X, coef = random_problem()
    result = local_convexity(X, coef, estimator=bank("erf", "mean"))
    assert {type(number) for number in result.hessian_extremes + result.orders} == {float}
    lines = str(result).split("\n")
    assert lines[0] == "Bank: 2 filters, erf, mean over 3 patches of length 4"
    assert f"kappa = {result.condition_number:.3g}, lambda" in lines[1]
    assert lines[2].startswith("Hessian at 200 samples: eigenvalues from ")
    assert lines[3].endswith(f"from {result.orders[0]:.3g} to {result.orders[1]:.3g}")


@pytest.mark.parametrize(
    ("parameters", "error", "match"),
    [
        ({"coef": np.ones((2, 5))}, ValueError, r"coef must have the shape \(n_filters"),
        ({"coef": np.ones(4)}, ValueError, "coef must hold filters along its first axis"),
        ({"estimator": bank("softplus")}, ValueError, "activation must be one of"),
        ({"estimator": bank("relu", "max")}, ValueError, 'pooling must be "sum" or "mean"'),
        ({"output_weights": [1, 1, 1]}, ValueError, "output_weights must be 1 or -1"),
        ({"y": np.ones(199)}, ValueError, r"y must have the shape \(200,\), got \(199,\)"),
        ({"y": np.full(200, np.inf)}, ValueError, "Input y contains infinity"),
        ({"max_samples": 0}, ValueError, "max_samples must be at least 1"),
        ({"random_state": "seed"}, ValueError, "cannot be used to seed"),
    ],
)
def test_error_names_the_wrong_parameter(parameters, error, match):
    X, coef = random_problem()
    with pytest.raises(error, match=match):
        local_convexity(**({"X": X, "coef": coef} | parameters))
