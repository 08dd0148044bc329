"""What theory and data say of a filter: is it easy to learn, and was it recovered."""

from skconvfilter.diagnostics.bank_convexity import LocalConvexity, local_convexity
from skconvfilter.diagnostics.banks import (
    BankRecovery,
    bank_recovery,
    match_filters,
    population_loss,
)
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
    "BankRecovery",
    "Certificate",
    "Interpolation",
    "LocalConvexity",
    "OnePointConvexity",
    "Recovery",
    "Smoothness",
    "TheoremCheck",
    "ball_success_bound",
    "ball_success_probability",
    "bank_recovery",
    "certificate",
    "interpolation",
    "local_convexity",
    "match_filters",
    "one_point_convexity",
    "population_loss",
    "recovery",
    "restarts_needed",
    "smoothness",
]
