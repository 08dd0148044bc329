import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from skconvfilter.model.events import BOTH, FILTER, TEACHER, TeacherEvents
from skconvfilter.model.geometry import PatchGeometry
from tests.kernels.oracle import convolutions, naive_patches, window_layout

EVENTS = (BOTH, FILTER, TEACHER)


def naive_mean_patches(patches, w, teacher):
    """Mean patches (p, n) by event, with a patch at the kink inactive."""
    mine, theirs = patches @ w > 0, patches @ teacher > 0
    regions = {BOTH: mine & theirs, FILTER: mine & ~theirs, TEACHER: ~mine & theirs}
    return {
        event: np.mean(patches * region[:, :, np.newaxis], axis=1).T
        for event, region in regions.items()
    }


@st.composite
def problems(draw):
    """Integers, so that inner products are exact and many are 0."""
    convolution = draw(convolutions(padded=False))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n_samples = draw(st.integers(1, 40))
    samples = rng.integers(-3, 4, size=(n_samples, convolution.n_features)).astype(float)
    layout = window_layout(convolution)
    geometry = PatchGeometry(layout, (convolution.n_features,), (0,))
    W = rng.integers(-3, 4, size=(convolution.patch_dim, 3)).astype(float)
    teacher = rng.integers(-3, 4, size=convolution.patch_dim).astype(float)
    events = TeacherEvents(samples, geometry, teacher)
    return events, naive_patches(samples, convolution), W, teacher


@given(problem=problems())
def test_mean_patches_are_those_of_the_loops(problem):
    events, patches, W, teacher = problem
    blocks = list(events.mean_patches(W))
    for r, w in enumerate(W.T):
        expected = naive_mean_patches(patches, w, teacher)
        for event in EVENTS:
            got = np.hstack([means[event][r] for means in blocks])
            np.testing.assert_allclose(got, expected[event], rtol=1e-14, atol=1e-14)


@given(problem=problems())
def test_moments_and_projections_are_those_of_the_mean_patches(problem):
    events, patches, W, teacher = problem
    columns = [2, 0]
    wanted = [(a, b, columns) for a in EVENTS for b in EVENTS]
    moments = events.moments(W, wanted)
    rng = np.random.default_rng(0)
    probes = [[(event, rng.standard_normal(len(teacher))) for event in EVENTS] for _ in W.T]
    projections = events.projections(W, probes)
    for r, w in enumerate(W.T):
        means = naive_mean_patches(patches, w, teacher)
        for (a, b, _), moment in zip(wanted, moments, strict=True):
            if r in columns:
                expected = means[a] @ means[b].T / len(patches)
                got = moment[columns.index(r)]
                np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-12)
        expected = [probe @ means[event] for event, probe in probes[r]]
        np.testing.assert_allclose(projections[r], expected, rtol=1e-12, atol=1e-12)
