import re
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from skconvfilter.initializers.tensor import (
    MomentsVanish,
    TensorMethod,
    TensorStart,
    tensor_start,
)
from skconvfilter.model.activations import ACTIVATIONS
from tests.initializers.teachers import KINDS, NAMES, SIGNED, make_data


def start_of(data, **options):
    options = {"random_state": 0, **options}
    n_filters = len(data.bank.signs)
    return tensor_start(data.blocks, data.targets, n_filters, data.activation, **options)


def error_of(data, **options):
    return data.error(*start_of(data, **options)[:2])


def median_error(name, *sizes, n_seeds=1, options=None, **data):
    errors = [
        error_of(make_data(name, *sizes, seed=seed, **data), **(options or {}))
        for seed in range(n_seeds)
    ]
    return np.median(errors)


def method_of(data, **limits):
    """The method that `start_of` runs, of other limits."""
    rng = np.random.default_rng(0)
    method = TensorMethod(data.activation, len(data.bank.signs), False, False, rng)
    return replace(method, **limits)


def random_root(patch_dim, seed=0):
    """Mixes entries of patches and scales them; of condition number 5."""
    rng = np.random.default_rng(seed)
    left, right = np.linalg.qr(rng.standard_normal((2, patch_dim, patch_dim)))[0]
    return left * np.linspace(0.5, 2.5, patch_dim) @ right


@pytest.mark.parametrize("name", NAMES)
def test_start_is_near_the_filters(name):
    bound = 0.03 if name in SIGNED else 0.08
    assert median_error(name, 10_000, 10, 16) < bound


@pytest.mark.parametrize("name", KINDS)
def test_error_falls_with_more_samples(name):
    few, more = (median_error(name, n) for n in (2_000, 32_000))
    assert more < few / 2 < 0.05


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize(
    ("n_filters", "patch_dim", "n_patches"), [(1, 1, 1), (1, 4, 2), (6, 6, 3), (3, 40, 1)]
)
def test_other_sizes(name, n_filters, patch_dim, n_patches):
    sizes = (10_000, n_filters, patch_dim)
    assert median_error(name, *sizes, n_patches=n_patches) < 0.15


@pytest.mark.parametrize("name", NAMES)
def test_output_signs_are_found_or_one_unless_asked_for(name):
    data = {"signed": name in SIGNED}
    # Of matching signs, or the error would be infinite.
    assert median_error(name, 8_000, options={"signed": True}, **data) < 0.1
    start = start_of(make_data(name, 1_000))
    # But for the output scale, which is estimated.
    np.testing.assert_allclose(start.signs, start.signs[0])
    assert start.signs[0] == pytest.approx(1, abs=0 if name in SIGNED else 0.02)
    assert start.W.shape == (8, 5)


@pytest.mark.parametrize("name", [*KINDS, "sigmoid"])
def test_single_contraction_is_not_as_good(name):
    sizes, single = (10_000, 3, 8), {"contraction": "single"}
    paper = median_error(name, *sizes, n_seeds=3, options=single)
    assert 3 * median_error(name, *sizes, n_seeds=3) < paper < 0.5


@pytest.mark.parametrize("name", ["relu", "tanh"])
def test_rounds_lower_the_error(name):
    one, several = [], []
    for seed in range(3):
        data = make_data(name, 4_000, seed=seed)
        for errors, n_rounds in ((one, 1), (several, 4)):
            method, weights = method_of(data, n_rounds=n_rounds), np.ones(4_000)
            start = method.start(data.blocks, data.targets, weights)
            errors.append(data.error(start.W, start.signs))
    assert np.median(several) < np.median(one) / 2


@pytest.mark.parametrize("name", KINDS)
def test_noise_and_a_constant_do_little(name):
    data = make_data(name, 10_000)
    rng = np.random.default_rng(1)
    noise = 0.2 * data.targets.std() * rng.standard_normal(10_000)
    assert error_of(data._replace(targets=data.targets + noise + 30.0)) < 0.15


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("data", [{"root": random_root(8)}, {"mean": 0.3}])
def test_correlated_patches_and_patches_with_a_mean(name, data):
    assert median_error(name, 8_000, **data) < 0.1


@pytest.mark.parametrize("name", NAMES)
def test_teacher_is_a_fixed_point_whatever_the_patches(name):
    data, rng = make_data(name, 2_000), np.random.default_rng(1)
    patches = rng.laplace(size=(2_000, 3, 8)) @ random_root(8) + rng.uniform(0, 1, 8)
    targets = data.activation.value(patches @ data.bank.filters).sum(axis=(1, 2)) + 5.0
    teacher, weights = TensorStart(*data.bank), np.ones(2_000)
    start = method_of(data).improve(teacher, lambda: iter([patches]), targets, weights)
    assert data.error(*start[:2]) < 1e-6


@pytest.mark.parametrize("name", ["relu", "erf"])
def test_directions_in_which_patches_do_not_vary(name):
    data = make_data(name, 10_000, 3, 5)
    embedding = np.linalg.qr(np.random.default_rng(1).standard_normal((7, 5)))[0]
    start = start_of(data._replace(patches=data.patches @ embedding.T))
    assert start.W.shape == (7, 3)
    # Nothing is put where the data say nothing.
    np.testing.assert_allclose(embedding @ (embedding.T @ start.W), start.W, atol=1e-9)
    assert data.error(embedding.T @ start.W, start.signs) < 0.1


@pytest.mark.parametrize("name", KINDS)
def test_units_do_not_matter(name):
    data = make_data(name, 2_000)
    W, degree = start_of(data).W, data.activation.homogeneity
    scaled = start_of(data._replace(patches=1e-4 * data.patches))
    np.testing.assert_allclose(1e-4 * scaled.W, W, rtol=1e-5, atol=1e-6)
    if degree:
        scaled = start_of(data._replace(targets=1e5 * data.targets))
        factor = 1e5 ** (1 / degree)
        np.testing.assert_allclose(scaled.W, factor * W, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", KINDS)
def test_integer_weights_are_repetitions(name):
    data = make_data(name, 2_000)
    weights = np.random.default_rng(1).integers(0, 3, 2_000)
    # Samples without weight do not count, whatever their targets.
    spoiled = data._replace(targets=np.where(weights == 0, 1e3, data.targets))
    weighted = start_of(spoiled, sample_weight=weights.astype(float))
    patches = np.repeat(data.patches, weights, axis=0)
    repeated = data._replace(patches=patches, targets=np.repeat(data.targets, weights))
    np.testing.assert_allclose(weighted.W, start_of(repeated).W, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("contraction", ["all", "single"])
def test_start_depends_on_the_random_state_alone(name, contraction):
    data = make_data(name, 1_000, patch_dim=25)
    first, again, other = (
        start_of(data, contraction=contraction, random_state=state)
        for state in (3, np.random.default_rng(3), 4)
    )
    np.testing.assert_array_equal(first.W, again.W)
    # Drawn are vectors for "single", if orders above 3 are needed, and the directions in
    # which the subspace of an odd activation is searched for.
    drawn = name == "tanh" or (contraction == "single" and name != "squared_relu")
    assert np.array_equal(first.W, other.W) != drawn


def test_float32_patches():
    data = make_data("relu", 4_000)
    single = data._replace(patches=data.patches.astype(np.float32))
    start = start_of(single)
    assert start.W.dtype == np.float64
    np.testing.assert_allclose(start.W, start_of(data).W, atol=1e-4)


def test_many_samples_are_first_thinned_out():
    data, weights = make_data("relu", 6_000), np.ones(6_000)
    method = method_of(data, many_samples=1_000)
    whole = start_of(data)
    error, start = data.error(*whole[:2]), method.start(data.blocks, data.targets, weights)
    assert not np.array_equal(start.W, whole.W)
    assert data.error(*start[:2]) < 1.2 * error
    # Where the part says nothing, all samples still do.
    weights[::6] = 0
    start = method.start(data.blocks, data.targets, weights)
    assert data.error(*start[:2]) < 1.5 * error


def test_memory_apart_from_the_samples_is_small():
    data = make_data("relu", 40_000, patch_dim=16, n_patches=5)
    tracemalloc.start()
    start_of(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # A few numbers for each sample, and chunks.
    assert peak < data.patches.nbytes / 3


@pytest.mark.parametrize("value", [0.0, 1.1, -1e8])
def test_constant_targets_are_refused(value):
    data = make_data("relu", 100)
    with pytest.raises(MomentsVanish, match="constant"):
        start_of(data._replace(targets=np.full(100, value)))


def test_weights_that_are_all_zero_are_refused():
    with pytest.raises(MomentsVanish, match="weights"):
        start_of(make_data("relu", 100), sample_weight=np.zeros(100))


def test_more_filters_than_directions_are_refused():
    data = make_data("relu", 1_000)
    with pytest.raises(MomentsVanish, match=r"9 filters .* length 8 vary in 8 directions"):
        tensor_start(data.blocks, data.targets, 9, data.activation, random_state=0)
    flat = data._replace(patches=data.patches[..., :4].repeat(2, axis=2))
    with pytest.raises(MomentsVanish, match=r"5 filters .* length 8 vary in 4 directions"):
        start_of(flat)
    with pytest.raises(MomentsVanish, match="vary in 0 directions"):
        start_of(data._replace(patches=np.ones((1_000, 3, 8))))


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("kind", ["noise", "other parity"])
def test_start_from_moments_no_larger_than_chance_has_a_warning(name, kind):
    data = make_data(name, 4_000)
    other = ACTIVATIONS["tanh"].value if name in SIGNED else np.abs
    targets = np.random.default_rng(1).standard_normal(4_000)
    if kind == "other parity":
        targets = other(data.patches @ data.bank.filters).sum(axis=(1, 2))
    start = start_of(data._replace(targets=targets), signed=True)
    assert re.search(rf"{name} filters.* chance", start.warning)
    assert np.isfinite(start.W).all()
    assert start_of(data).warning is None


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("n_samples", [8, 4_000])
def test_moments_no_larger_than_rounding_are_refused(name, n_samples):
    # Nothing but rounding is left once the linear part is removed.
    data = make_data(name, n_samples)
    if n_samples > 8:
        sums = (data.patches @ data.bank.filters).sum(axis=(1, 2))
        data = data._replace(targets=sums)
    with pytest.raises(MomentsVanish, match=rf"{name} filters.* rounding"):
        start_of(data)


def test_negative_outputs_are_refused_where_they_should_be_one():
    data = make_data("relu", 10_000)
    with pytest.raises(MomentsVanish):
        start_of(data._replace(targets=-data.targets))


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("contraction", ["all", "single"])
def test_whatever_the_data_the_start_is_finite(name, contraction):
    rng = np.random.default_rng(0)
    data, options = make_data(name, 400), {"signed": True, "contraction": contraction}
    for patches in (
        rng.standard_t(2, (400, 3, 8)),
        rng.integers(0, 2, (400, 3, 8)).astype(float),
        data.patches.repeat(2, axis=0)[:400],
        data.patches + 1e3,
    ):
        values = data.activation.value(patches @ data.bank.filters).sum(axis=(1, 2))
        for targets in (values, np.sign(values - values.mean())):
            try:
                changed = data._replace(patches=patches, targets=targets)
                start = start_of(changed, **options)
            except MomentsVanish:
                continue
            assert np.isfinite(start.W).all()
            assert np.ptp(np.abs(start.signs)) == 0
