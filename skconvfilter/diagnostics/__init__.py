"""How easy a filter is to learn, whether it was recovered, and inference on its weights."""

from skconvfilter.diagnostics.certificate import Certificate, certificate
from skconvfilter.diagnostics.convexity import (
    LocalConvexity,
    OnePointConvexity,
    local_convexity,
    one_point_convexity,
)
from skconvfilter.diagnostics.identifiability import Identifiability, Rival
from skconvfilter.diagnostics.inference import (
    Inference,
    PredictionInterval,
    WaldTest,
    inference,
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
from skconvfilter.diagnostics.resampling import Bootstrap
from skconvfilter.diagnostics.sampling import Estimate
from skconvfilter.diagnostics.smoothness import Smoothness, smoothness
from skconvfilter.diagnostics.theorems import TheoremCheck

__all__ = [
    "Bootstrap",
    "Certificate",
    "Estimate",
    "Identifiability",
    "Inference",
    "Interpolation",
    "LocalConvexity",
    "OnePointConvexity",
    "PredictionInterval",
    "Recovery",
    "Rival",
    "Smoothness",
    "TheoremCheck",
    "WaldTest",
    "ball_success_bound",
    "ball_success_probability",
    "certificate",
    "inference",
    "interpolation",
    "local_convexity",
    "one_point_convexity",
    "population_loss",
    "recovery",
    "restarts_needed",
    "smoothness",
]
