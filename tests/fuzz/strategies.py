"""What users may pass to the public API.

CONTRIBUTING.md says how to run many examples.
"""

import io
import warnings
from contextlib import contextmanager, redirect_stdout

import numpy as np
from hypothesis import event
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.lib.stride_tricks import sliding_window_view
from sklearn.exceptions import NotFittedError

DTYPES = [np.float64, np.float32, np.float16, np.int16, np.uint8, np.bool_, object, ">f4"]
# Units of samples and targets. The last one is outside the range of every dtype.
SCALES = st.sampled_from([1.0, 1.0, 1.0, 1e-3, 1e6, 1e-12, 1e12, 1e80])

ARRAYS = hnp.arrays(
    st.sampled_from([np.float64, np.int8, np.bool_, np.complex128, "U2"]),
    hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
    elements={"allow_subnormal": False},
)


def numbers(low, high):
    """Numbers as they are written in a program."""
    return st.floats(low, high).map(lambda number: round(number, 3))


# What most parameters do not accept.
JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from(["", "auto", "x", "ones", "relu", np.nan, np.inf, -np.inf, 1j]),
    st.integers(-2, 4),
    numbers(-2, 2),
    st.sampled_from([{}, [], (), (0,), [[]], [1, "x"], np.array(2), np.zeros((0, 3))]),
    st.lists(st.integers(-1, 4), max_size=3),
    ARRAYS,
    ARRAYS.map(lambda array: array.astype(object)),
)


@contextmanager
def explained():
    """Accept errors whose message is a sentence, and warnings for users."""
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
        # NumPy's warnings are RuntimeWarnings, and none of them is for users.
        warnings.simplefilter("ignore", UserWarning)
        try:
            yield
        except (ValueError, TypeError, NotFittedError) as error:
            if len(str(error).split()) < 4:
                raise AssertionError(f"unclear: {error!r}") from error
            event("error")


@st.composite
def some(draw, options, junk=0.15):
    """Keyword arguments: a few of the options, and sometimes junk for one of them."""
    names = draw(st.lists(st.sampled_from(sorted(options)), unique=True, max_size=5))
    params = {name: draw(options[name]) for name in names}
    if draw(st.floats(0, 1)) < junk:
        params[draw(st.sampled_from(sorted(options)))] = draw(JUNK)
    return params


@st.composite
def windows(draw):
    """The shape of a sample, and a window over it, which may not fit."""
    n_axes = draw(st.integers(1, 2))
    sizes = st.lists(st.integers(2, 6), min_size=n_axes, max_size=n_axes)
    per_axis = st.lists(st.integers(1, 3), min_size=n_axes, max_size=n_axes).map(tuple)
    shape = draw(sizes)
    channels = draw(st.sampled_from([(), (), (1,), (2,)]))
    window = {
        "kernel_size": draw(per_axis),
        "input_shape": (*shape, *channels),
        "stride": draw(st.sampled_from([1, 1, 2]) | per_axis),
        "padding": draw(st.sampled_from([0, 0, 1, 3])),
        "dilation": draw(st.sampled_from([1, 1, 2])),
    }
    if channels == () and draw(st.booleans()):
        window["kernel_size"] = window["kernel_size"][0]
    return window


@st.composite
def data(draw):
    """Samples of some form, the window parameters for them, targets and weights."""
    n_samples = draw(st.sampled_from([1, 2, 3, 8, 20, 30]))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    form = draw(st.sampled_from(["window", "window", "rows", "patches", "views"]))
    window = draw(windows()) if form == "window" else {}
    shape = {
        "window": (int(np.prod(window.get("input_shape", 1))),),
        "rows": (draw(st.integers(1, 6)),),
        "patches": (draw(st.integers(1, 4)), draw(st.integers(1, 6))),
        "views": (5, 6),
    }[form]
    X = rng.standard_normal((n_samples, *shape))
    X = draw(st.sampled_from([X, X, X, np.rint(X), 0 * X + 1, 0 * X]))
    y = np.maximum(X.reshape(n_samples, -1)[:, :2].sum(axis=1), 0)
    y = draw(st.sampled_from([y, y + rng.standard_normal(n_samples), -y, 0 * y + 3, 0 * y]))
    X = X * draw(SCALES)
    y = y * draw(SCALES)
    dtype = draw(st.sampled_from([np.float64, np.float64, *DTYPES]))
    with np.errstate(all="ignore"):
        X = X.astype(dtype)
    if draw(st.integers(0, 19)) == 0:
        X = X.astype(object if X.dtype == object else np.float64)
        X.flat[0] = draw(st.sampled_from([np.nan, np.inf]))
    if form == "views":
        X = sliding_window_view(X, (2, 3), axis=(1, 2))
    weights = draw(
        st.none()
        | st.just(np.ones(n_samples))
        | st.just(rng.integers(0, 3, n_samples))
        | numbers(-1, 2)
    )
    return X, window, y, weights
