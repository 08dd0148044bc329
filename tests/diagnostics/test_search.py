import numpy as np
import pytest

from skconvfilter.diagnostics.search import (
    QUANTITIES,
    DirectionSearch,
    Extreme,
    PatchSample,
    Point,
    Term,
    ascend,
    contributions,
)
from skconvfilter.model.events import BOTH, FILTER, TEACHER, TeacherEvents
from skconvfilter.model.geometry import Convolution

N_SAMPLES, N_PATCHES, PATCH_DIM = 300, 3, 4


@pytest.fixture
def problem():
    """Samples of three patches side by side, all of them, and a teacher."""
    rng = np.random.default_rng(0)
    scale = np.array([2.0, 1.0, 0.5, 0.3])
    patches = rng.standard_normal((N_SAMPLES, N_PATCHES, PATCH_DIM)) * scale
    teacher = rng.standard_normal(PATCH_DIM)
    samples = patches.reshape(N_SAMPLES, -1)
    geometry = Convolution(PATCH_DIM, stride=PATCH_DIM).geometry(samples.shape[1])
    events = TeacherEvents(samples, geometry, teacher)
    everything = PatchSample(
        patches.reshape(-1, PATCH_DIM), np.repeat(np.arange(N_SAMPLES), N_PATCHES), teacher
    )
    return patches, teacher, events, everything


def smooth_means(patches, teacher, w, width):
    """Mean patches (n, p) by event with the indicator of w made logistic."""
    active = 1 / (1 + np.exp(-(patches @ w) / width))
    inside = patches @ teacher > 0
    shares = {
        BOTH: active * inside,
        FILTER: active * ~inside,
        TEACHER: (1 - active) * inside,
    }
    return {
        event: (patches * share[:, :, np.newaxis]).mean(axis=1)
        for event, share in shares.items()
    }


@pytest.mark.parametrize("pairs", [q.pairs for q in QUANTITIES.values()], ids=QUANTITIES)
def test_slope_is_the_gradient_of_the_smoothed_quantity(problem, pairs):
    patches, teacher, _, everything = problem
    rng = np.random.default_rng(1)
    w, *vectors = rng.standard_normal((1 + 2 * len(pairs), PATCH_DIM))
    terms = [
        Term(a, vectors[2 * i], b, vectors[2 * i + 1]) for i, (a, b) in enumerate(pairs)
    ]
    extreme = Extreme(quantity="L", score=0.0, value=0.0, v=w, w=w, terms=terms)
    width = extreme.width * (patches @ w).std()

    def projections(w):
        means = smooth_means(patches, teacher, w, width)
        return np.array(
            [m for t in terms for m in (means[t.a] @ t.left, means[t.b] @ t.right)]
        )

    def quantity(w):
        values = projections(w)
        return np.mean(values[0::2] * values[1::2], axis=1).sum()

    step = 1e-5
    expected = [
        (quantity(w + step * e) - quantity(w - step * e)) / (2 * step)
        for e in np.eye(PATCH_DIM)
    ]
    slope = everything.slope(extreme, projections(w))
    factor = 1 / (width * N_SAMPLES * N_PATCHES)
    np.testing.assert_allclose(slope * factor, expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("angle", [0.7, 2.5])
def test_filters_found_make_the_angle_and_have_the_value(problem, angle):
    _, teacher, events, everything = problem
    search = DirectionSearch(events, everything, np.random.default_rng(0))
    for found in search.sweep([angle])[0].values():
        assert np.linalg.norm(found.w) == pytest.approx(1)
        cosine = found.w @ teacher / np.linalg.norm(teacher)
        assert cosine == pytest.approx(np.cos(angle))
        mean = contributions(events, found).mean()
        assert mean == pytest.approx(found.value, rel=1e-10)


def test_ascent_finds_the_maximum_and_changes_none_of_its_points():
    target = np.array([0.6, 0.0, 0.8])

    def at(V, origins=()):
        return [Point(v=v, score=v @ target) for v in V.T]

    def slopes(points):
        return [target - (target @ point.v) * point.v for point in points]

    starts = at(np.eye(3)[:, :2])
    found = ascend(starts, slopes, at, n_steps=60)
    assert [point.score for point in found] == pytest.approx([1, 1], abs=1e-4)
    assert [point.score for point in starts] == [0.6, 0.0]
    assert all(point.settled for point in found)
    assert not any(point.settled for point in starts)
    # Settled points stay, and without steps all do.
    assert ascend(found, slopes, at, n_steps=5) == found
    assert [p.score for p in ascend(starts, slopes, at, n_steps=0)] == [0.6, 0.0]


@pytest.mark.parametrize("name", QUANTITIES)
def test_refinement_finds_more_than_many_random_directions(problem, name):
    _, teacher, events, everything = problem
    angle, quantity = 0.8, QUANTITIES[name]
    found = DirectionSearch(events, everything, np.random.default_rng(0)).sweep([angle])[0]
    unit = teacher / np.linalg.norm(teacher)
    V = np.random.default_rng(1).standard_normal((PATCH_DIM, 2000))
    V -= np.outer(unit, unit @ V)
    V /= np.linalg.norm(V, axis=0)
    W = np.cos(angle) * unit[:, np.newaxis] + np.sin(angle) * V
    norms = sum(
        np.linalg.svd(moments, compute_uv=False)[:, -1 if quantity.sign < 0 else 0]
        for moments in events.moments(W, [(*pair, slice(None)) for pair in quantity.pairs])
    )
    best = quantity.sign * (quantity.sign * norms).max()
    # 2,000 directions of a 2-sphere are dense; the search may stop just before them.
    assert quantity.sign * found[name].value >= quantity.sign * best - 0.02 * abs(best)
