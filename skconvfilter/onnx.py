"""Conversion of fitted regressors to ONNX graphs, for predictions without Python."""

import math
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from skconvfilter.estimators.bank import ConvFilterBankRegressor
from skconvfilter.estimators.filter import ConvReLUFilterRegressor
from skconvfilter.estimators.fitted_state import check_fitted_state, check_patch_dim
from skconvfilter.estimators.settings import check_option
from skconvfilter.model.bank import check_activation
from skconvfilter.model.geometry import Convolution, PatchGeometry
from skconvfilter.version import __version__

if TYPE_CHECKING:
    from onnx import ModelProto

__all__ = ["register_converters", "to_onnx"]

# Operator, inputs, outputs and attributes of each node; and the constants by name.
Nodes: TypeAlias = list[tuple[str, list[str], list[str], dict[str, Any]]]
Constants: TypeAlias = dict[str, NDArray[Any]]

# The oldest versions that have all that is used here: any runtime takes them.
_OPSET, _IR_VERSION = 18, 8

# The nodes of each activation, from "preactivations" to "activations".
_ACTIVATIONS: dict[str, list[tuple[str, list[str], list[str]]]] = {
    "relu": [("Relu", ["preactivations"], ["activations"])],
    # Its slope below 0 is 0.01, as in this package.
    "leaky_relu": [("LeakyRelu", ["preactivations"], ["activations"])],
    "squared_relu": [
        ("Relu", ["preactivations"], ["rectified"]),
        ("Mul", ["rectified", "rectified"], ["activations"]),
    ],
    "sigmoid": [("Sigmoid", ["preactivations"], ["activations"])],
    "tanh": [("Tanh", ["preactivations"], ["activations"])],
    "erf": [("Erf", ["preactivations"], ["activations"])],
}
_POOLINGS = {"sum": "ReduceSum", "mean": "ReduceMean"}


def to_onnx(
    estimator: ConvReLUFilterRegressor | ConvFilterBankRegressor,
) -> "ModelProto":
    """Convert a fitted regressor to an ONNX model.

    Parameters
    ----------
    estimator : ConvReLUFilterRegressor or ConvFilterBankRegressor
        The fitted regressor.

    Returns
    -------
    model : onnx.ModelProto
        The model has one input `X` and one output `y`, of shape (n_samples,). Both are
        float32, the only dtype for which runtimes have convolutions. The predictions equal
        those of `predict` for float32 samples, to the precision of float32. With
        `kernel_size` the input has the shape (n_samples, n_features). Without it, the shape
        is (n_samples, n_patches, patch_dim), and rows that are one patch each must be
        passed as ``X[:, np.newaxis]``.

    Raises
    ------
    ImportError
        If the package onnx is not installed.
    TypeError
        If `estimator` is of another class.
    NotFittedError
        If `estimator` is not fitted.
    ValueError
        If the filters are out of the range of float32, or fitted attributes are corrupted.

    See Also
    --------
    skconvfilter.ConvReLUFilterRegressor : One filter.
    skconvfilter.ConvFilterBankRegressor : Several filters.

    Examples
    --------
    >>> import numpy as np
    >>> from skconvfilter import ConvReLUFilterRegressor
    >>> from skconvfilter.onnx import to_onnx
    >>> X = np.random.default_rng(0).standard_normal((100, 3))
    >>> model = ConvReLUFilterRegressor(random_state=0).fit(X, np.maximum(X[:, 0], 0))
    >>> content = to_onnx(model).SerializeToString()  # doctest: +SKIP
    """
    if not isinstance(estimator, ConvReLUFilterRegressor | ConvFilterBankRegressor):
        raise TypeError(
            "estimator must be a ConvReLUFilterRegressor or a ConvFilterBankRegressor, "
            f"got {estimator!r}."
        )
    check_fitted_state(estimator)
    try:
        from onnx import TensorProto, helper, numpy_helper
    except ImportError as error:
        raise ImportError(
            "to_onnx needs the package onnx: pip install 'skconvfilter[onnx]'."
        ) from error
    shape, nodes, constants = _graph(estimator)
    graph = helper.make_graph(
        [
            helper.make_node(operator, inputs, outputs, **attributes)
            for operator, inputs, outputs, attributes in nodes
        ],
        type(estimator).__name__,
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape[:1])],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    return helper.make_model(
        graph,
        producer_name="skconvfilter",
        producer_version=__version__,
        opset_imports=[helper.make_opsetid("", _OPSET)],
        ir_version=_IR_VERSION,
    )


def register_converters() -> None:
    """Register converters, so that skl2onnx converts pipelines with these regressors.

    Call it once, before ``skl2onnx.to_onnx(pipeline, X)`` with float32 samples. The
    regressors must have a `kernel_size`. The predictions have the shape (n_samples, 1), as
    for other regressors in skl2onnx.

    Raises
    ------
    ImportError
        If the package skl2onnx is not installed.

    See Also
    --------
    to_onnx : Converts a regressor without skl2onnx.

    Examples
    --------
    >>> from skconvfilter.onnx import register_converters
    >>> register_converters()  # doctest: +SKIP
    """
    try:
        from skl2onnx import update_registered_converter
    except ImportError as error:
        raise ImportError(
            "register_converters needs the package skl2onnx: pip install skl2onnx."
        ) from error
    for cls in (ConvReLUFilterRegressor, ConvFilterBankRegressor):
        update_registered_converter(
            cls, f"Skconvfilter{cls.__name__}", _set_output_shape, _add_nodes
        )


def _set_output_shape(operator: Any) -> None:
    """What skl2onnx asks of a regressor: the type of its output."""
    from skl2onnx.common.data_types import FloatTensorType

    operator.outputs[0].type = FloatTensorType([None, 1])


def _add_nodes(scope: Any, operator: Any, container: Any) -> None:
    """The nodes of a regressor, in the graph of a pipeline, with names of their own."""
    from onnx import helper

    estimator = operator.raw_operator
    if estimator.kernel_size is None:
        raise ValueError(
            "skl2onnx has no input for patches, which a regressor without kernel_size "
            "needs: set kernel_size, or use skconvfilter.onnx.to_onnx."
        )
    _, nodes, constants = _graph(estimator)
    nodes.append(("Reshape", ["y", "column"], ["predictions"], {}))
    constants["column"] = np.array([-1, 1], dtype=np.int64)
    names = {
        "X": operator.inputs[0].full_name,
        "predictions": operator.outputs[0].full_name,
    }

    def own(name: str) -> Any:
        return names.setdefault(name, scope.get_unique_variable_name(name))

    for name, array in constants.items():
        dtype = helper.np_dtype_to_tensor_dtype(array.dtype)
        container.add_initializer(own(name), dtype, array.shape, array.ravel().tolist())
    for kind, inputs, outputs, attributes in nodes:
        container.add_node(
            kind,
            [own(name) for name in inputs],
            [own(name) for name in outputs],
            name=scope.get_unique_operator_name(kind),
            op_version=_OPSET,
            **attributes,
        )


def _graph(
    estimator: ConvReLUFilterRegressor | ConvFilterBankRegressor,
) -> tuple[list[Any], Nodes, Constants]:
    """Shape of the input, nodes and constants."""
    geometry = Convolution.of(estimator).geometry(estimator.n_features_in_)
    check_patch_dim(estimator, geometry.layout.window_size)
    coef = np.asarray(estimator.coef_, dtype=np.float64)
    if isinstance(estimator, ConvFilterBankRegressor):
        activation = check_activation(estimator.activation).name
        weights = estimator.output_scale_ * estimator.output_weights_
        pooling = estimator.pooling
    else:
        activation, weights, pooling = "relu", np.array([estimator.sign_]), "mean"
    nodes: Nodes
    constants: Constants
    if estimator.kernel_size is None:
        shape, axes = ["n_samples", "n_patches", coef.shape[-1]], [1]
        filters = coef.reshape(-1, coef.shape[-1]).T
        nodes, constants = [("MatMul", ["X", "filters"], ["products"], {})], {}
        nodes += [("Add", ["products", "bias"], ["preactivations"], {})]
    else:
        shape = ["n_samples", estimator.n_features_in_]
        axes = [2 + axis for axis in range(len(geometry.layout.grid_shape))]
        nodes, constants, filters = _convolution(geometry, coef)
    nodes += [(*node, {}) for node in _ACTIVATIONS[activation]]
    reduce = _POOLINGS[check_option("pooling", pooling, tuple(_POOLINGS))]
    nodes += [
        (reduce, ["activations", "axes"], ["pooled"], {"keepdims": 0}),
        ("MatMul", ["pooled", "output_weights"], ["values"], {}),
        ("Add", ["values", "intercept"], ["y"], {}),
    ]
    constants |= {
        "filters": _single("coef_", filters),
        "bias": _single("bias_", np.atleast_1d(np.asarray(estimator.bias_, np.float64))),
        "axes": np.array(axes, dtype=np.int64),
        "output_weights": _single("output_scale_", weights.astype(np.float64)),
        "intercept": _single("intercept_", np.float64(estimator.intercept_)),
    }
    return shape, nodes, constants


def _convolution(
    geometry: PatchGeometry, coef: NDArray[np.float64]
) -> tuple[Nodes, Constants, NDArray[np.float64]]:
    """From flat samples to preactivations (n_samples, n_filters, *grid).

    Returns
    -------
    nodes, constants
    filters : ndarray of shape (n_filters, n_channels, *window)
    """
    layout, sample_shape = geometry.layout, geometry.sample_shape
    n_axes = len(layout.grid_shape)
    n_channels = math.prod(sample_shape[n_axes:])
    padded = [size + 2 * p for size, p in zip(sample_shape, geometry.padding, strict=True)]
    steps = [math.prod(padded[axis + 1 :]) for axis in range(n_axes)]

    def in_steps(strides: tuple[int, ...]) -> list[int]:
        return [stride // step for stride, step in zip(strides, steps, strict=False)]

    convolution = {
        "strides": in_steps(layout.grid_strides),
        "dilations": in_steps(layout.window_strides),
        "pads": [*geometry.padding[:n_axes], *geometry.padding[:n_axes]],
    }
    channels_first = {"perm": [0, n_axes + 1, *range(1, n_axes + 1)]}
    nodes: Nodes = [
        ("Reshape", ["X", "sample_shape"], ["channels_last"], {}),
        ("Transpose", ["channels_last"], ["images"], channels_first),
        ("Conv", ["images", "filters", "bias"], ["preactivations"], convolution),
    ]
    channels_last = np.array([-1, *sample_shape[:n_axes], n_channels], dtype=np.int64)
    filters = coef.reshape(-1, *layout.window_shape[:n_axes], n_channels)
    return nodes, {"sample_shape": channels_last}, np.moveaxis(filters, -1, 1)


def _single(name: str, numbers: NDArray[np.float64] | np.float64) -> NDArray[np.float32]:
    """Numbers as float32; raises ValueError where it cannot hold them."""
    largest, limits = np.abs(numbers).max(), np.finfo(np.float32)
    if largest > limits.max or 0 < largest < limits.tiny:
        raise ValueError(
            f"The fitted {name} is out of the range of float32, in which the graph "
            "computes. Rescale X or y."
        )
    return np.array(numbers, dtype=np.float32, order="C")
