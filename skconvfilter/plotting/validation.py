"""What the displays need of an estimator."""

from typing import Any

from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted


def fitted_model(estimator: Any, attribute: str) -> Any:
    """The estimator, or the last step of a pipeline, which must have the attribute."""
    model = estimator[-1] if isinstance(estimator, Pipeline) else estimator
    message = (
        f"This %(name)s instance has no {attribute}: it must be a filter regressor "
        "that has been fitted. Call 'fit' first."
    )
    check_is_fitted(model, attribute, msg=message)
    return model
