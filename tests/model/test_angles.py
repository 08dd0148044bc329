import numpy as np
import pytest

from skconvfilter.model.angles import angles_to


@pytest.mark.parametrize("angle", [0, 1e-15, 1e-9, 1e-3, 0.3, 1.5])
def test_angles_keep_their_precision_at_both_ends(angle):
    w, filters = np.array([3.0, 0.0]), np.array([[np.cos(angle), np.sin(angle)]] * 2)
    filters *= [[2.0], [-1e-5]]
    np.testing.assert_allclose(
        angles_to(w, filters), [angle, np.pi - angle], rtol=1e-12, atol=1e-30
    )


def test_zero_makes_no_angle():
    assert np.isnan(angles_to(np.zeros(2), np.ones((3, 2)))).all()
    assert np.isnan(angles_to(np.ones(2), np.array([[1.0, 1.0], [0.0, 0.0]]))).sum() == 1


def test_any_axes_may_come_first():
    filters = np.random.default_rng(0).standard_normal((2, 3, 4))
    w = np.ones(4)
    cosine = filters @ w / np.linalg.norm(filters, axis=2) / 2
    np.testing.assert_allclose(angles_to(w, filters), np.arccos(cosine), rtol=1e-12)
