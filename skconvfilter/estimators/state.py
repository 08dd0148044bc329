"""What an estimator has learnt, through a fit that fails and in a file."""

import warnings
from contextlib import contextmanager
from dataclasses import asdict

from sklearn.base import BaseEstimator
from sklearn.exceptions import InconsistentVersionWarning

from skconvfilter.diagnostics.certificate import Certificate
from skconvfilter.version import __version__


class VersionWarning(InconsistentVersionWarning):
    """An estimator comes from a file that another version of this package wrote."""

    def __init__(self, estimator_name, original_version):
        super().__init__(
            estimator_name=estimator_name,
            current_sklearn_version=__version__,
            original_sklearn_version=original_version,
        )

    def __str__(self):
        return (
            f"This {self.estimator_name} was saved by version "
            f"{self.original_sklearn_version} of skconvfilter, but the version here is "
            f"{self.current_sklearn_version}: predictions may be wrong. Install the "
            "former version, or fit anew."
        )


class PersistentEstimator(BaseEstimator):
    """An estimator whose state, in a file, is plain and knows the package's version."""

    def __getstate__(self):
        state = {**super().__getstate__(), "_skconvfilter_version": __version__}
        if isinstance(state.get("certificate_"), Certificate):
            state["certificate_"] = asdict(state["certificate_"])
        return state

    def __setstate__(self, state):
        state = dict(state)
        version = state.pop("_skconvfilter_version", "unknown")
        if version != __version__:
            warnings.warn(VersionWarning(type(self).__name__, version), stacklevel=2)
        if isinstance(state.get("certificate_"), dict):
            state["certificate_"] = Certificate.from_dict(state["certificate_"])
        super().__setstate__(state)


@contextmanager
def unchanged_on_failure(estimator):
    """Restore all attributes if the block raises, an interrupt included."""
    attributes = vars(estimator).copy()
    try:
        yield
    except BaseException:
        vars(estimator).clear()
        vars(estimator).update(attributes)
        raise


def replace_learnt(estimator, learnt):
    """Put new fitted attributes in the place of all old ones."""
    for name in list(vars(estimator)):
        # What validation has just set stays.
        if name.endswith("_") and name not in ("n_features_in_", "feature_names_in_"):
            delattr(estimator, name)
    vars(estimator).pop("_stream", None)
    vars(estimator).update(learnt)
