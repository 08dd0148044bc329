"""What an estimator has learnt survives a fit that fails."""

from contextlib import contextmanager


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
