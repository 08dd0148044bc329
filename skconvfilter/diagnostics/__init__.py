"""What theory and data say of a filter: is it easy to learn, and was it recovered."""

from skconvfilter.diagnostics.certificate import Certificate, certificate
from skconvfilter.diagnostics.convexity import OnePointConvexity, one_point_convexity
from skconvfilter.diagnostics.initialization import (
    ball_success_bound,
    ball_success_probability,
    restarts_needed,
)
from skconvfilter.diagnostics.recovery import (
    Interpolation,
    Recovery,
    interpolation,
    recovery,
)
from skconvfilter.diagnostics.smoothness import Smoothness, smoothness
from skconvfilter.diagnostics.theorems import TheoremCheck

__all__ = [
    "Certificate",
    "Interpolation",
    "OnePointConvexity",
    "Recovery",
    "Smoothness",
    "TheoremCheck",
    "ball_success_bound",
    "ball_success_probability",
    "certificate",
    "interpolation",
    "one_point_convexity",
    "recovery",
    "restarts_needed",
    "smoothness",
]
