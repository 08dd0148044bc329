"""What theory and data say of a filter: is it easy to learn, and was it recovered."""

from skconvfilter.diagnostics.certificate import Certificate, certificate
from skconvfilter.diagnostics.convexity import (
    LocalConvexity,
    OnePointConvexity,
    local_convexity,
    one_point_convexity,
)
from skconvfilter.diagnostics.initialization import (
    ball_success_bound,
    ball_success_probability,
    restarts_needed,
)
from skconvfilter.diagnostics.recovery import (
    Interpolation,
    Recovery,
    interpolation,
    population_loss,
    recovery,
)
from skconvfilter.diagnostics.sampling import Estimate
from skconvfilter.diagnostics.smoothness import Smoothness, smoothness
from skconvfilter.diagnostics.theorems import TheoremCheck

__all__ = [
    "Certificate",
    "Estimate",
    "Interpolation",
    "LocalConvexity",
    "OnePointConvexity",
    "Recovery",
    "Smoothness",
    "TheoremCheck",
    "ball_success_bound",
    "ball_success_probability",
    "certificate",
    "interpolation",
    "local_convexity",
    "one_point_convexity",
    "population_loss",
    "recovery",
    "restarts_needed",
    "smoothness",
]
