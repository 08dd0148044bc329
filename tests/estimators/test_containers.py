"""Samples, targets and weights in the containers of other libraries."""

import datetime
import re
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest

from tests.estimators.cases import fit_quietly

PAGE = Path(__file__).parents[2] / "docs" / "user_guide" / "data.md"


def library(name):
    return pytest.importorskip(name, reason=f"{name} is not installed")


def in_frame(dtype):
    """A data frame, or a series, of pandas."""

    def make(array, tmp_path):
        if "pyarrow" in dtype:
            library("pyarrow")
        name = dtype.format(
            8 * array.itemsize, "float" if array.itemsize == 4 else "double"
        )
        frame = pd.Series(array) if array.ndim == 1 else pd.DataFrame(array)
        return frame.astype(name)

    return make


def memmap(array, tmp_path):
    path = tmp_path / f"{id(array)}.npy"
    np.save(path, array)
    return np.load(path, mmap_mode="r")


def in_polars(array, tmp_path):
    return pl.Series(array) if array.ndim == 1 else pl.DataFrame(array)


def dask_array(array, tmp_path):
    chunks = (20, *array.shape[1:])
    return library("dask.array").from_array(array, chunks=chunks)


def in_hdf5(array, tmp_path):
    file = library("h5py").File(tmp_path / f"{id(array)}.h5", "w")
    return file.create_dataset("array", data=array)


def in_xarray(array, tmp_path):
    return library("xarray").DataArray(array)


def lazy_xarray(array, tmp_path):
    return in_xarray(dask_array(array, tmp_path), tmp_path)


def tensor(array, tmp_path):
    return library("torch").tensor(array, requires_grad=True)


def in_arrow(array, tmp_path):
    table = library("pyarrow")
    if array.ndim == 1:
        return table.array(array)
    return table.table({f"x{i}": column for i, column in enumerate(array.T)})


# By the names in the documentation.
CONTAINERS = {
    "NumPy": lambda a, _: a,
    "NumPy, big-endian": lambda a, _: a.astype(a.dtype.newbyteorder(">")),
    "`numpy.memmap`": memmap,
    "list of arrays": lambda a, _: list(a),
    "pandas": in_frame("float{}"),
    "pandas, nullable": in_frame("Float{}"),
    "pandas, Arrow": in_frame("{1}[pyarrow]"),
    "polars": in_polars,
    "pyarrow": in_arrow,
    "xarray": in_xarray,
    "xarray of dask": lazy_xarray,
    "dask": dask_array,
    "PyTorch": tensor,
    "zarr": lambda a, _: library("zarr").array(a),
    "h5py": in_hdf5,
}
DATES = {
    "durations": lambda y: y.astype("m8[s]"),
    "dates": lambda y: y.astype("M8[s]"),
    "durations of pandas": lambda y: pd.Series(pd.to_timedelta([*y[1:], None], unit="s")),
    "dates with a zone": lambda y: pd.Series(pd.to_datetime(y, utc=True)),
    "durations of polars": lambda y: pl.Series([datetime.timedelta(v) for v in y]),
    "durations of Python": lambda y: [datetime.timedelta(v) for v in y],
    "durations as objects": lambda y: y.astype("m8[s]").astype(object),
    "durations of Arrow": lambda y: library("pyarrow").array(y.astype("m8[s]")),
    "a frame": lambda y: pd.DataFrame({"y": pd.to_timedelta(y, unit="s")}),
}


def test_the_table_of_the_documentation_has_these_containers():
    section = PAGE.read_text().split("## Containers")[1].split("\n## ")[0]
    names = re.findall(r"^\| ([^|]+?) \|", section, re.MULTILINE)
    assert [name for name in names if name != "---"][1:] == list(CONTAINERS)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", CONTAINERS)
def test_containers_are_taken_in_their_precision(name, dtype, case, tmp_path):
    data, make = case.data().take(60), CONTAINERS[name]
    X, y = data.X.astype(dtype), data.y.astype(np.float32)
    weights = np.linspace(1, 2, 60)
    options = {"n_init": 1, "max_iter": 3} | ({"init": "random"} if case.is_bank else {})
    expected = fit_quietly(case.make(**options), X, y, weights)
    given = make(X, tmp_path)
    columns = [make(y, tmp_path), make(weights, tmp_path)]
    model = fit_quietly(case.make(**options), given, *columns)
    assert model.coef_.dtype == dtype
    # Samples that are read in blocks have sums of another order.
    rtol = 1e-9 if dtype == np.float64 else 1e-3
    np.testing.assert_allclose(model.coef_, expected.coef_, rtol=rtol)
    predicted = model.predict(given)
    assert predicted.dtype == dtype
    np.testing.assert_allclose(np.asarray(predicted), expected.predict(X), rtol=rtol)


def test_other_tensors_become_double_precision(case):
    torch = library("torch")
    X = torch.tensor(case.data().take(60).X).bfloat16()
    y = np.maximum(X.double().numpy()[:, :4].sum(axis=1), 0)
    model = fit_quietly(case.make(n_init=1, max_iter=3), X, y)
    assert model.coef_.dtype == model.predict(X).dtype == np.float64


@pytest.mark.parametrize("kind", DATES)
def test_dates_and_durations_are_refused(kind, case):
    data = case.data().take(50)
    dates = DATES[kind](np.arange(1.0, 51.0).round())
    frame = pd.DataFrame(np.tile(np.arange(50), (24, 1)).T).astype("m8[s]")
    message = r"{} holds dates or durations.*total_seconds\(\)"
    for arguments, name in (
        ((frame, data.y), "X"),
        ((frame.to_numpy(), data.y), "X"),
        ((data.X, dates), "y"),
        ((data.X, data.y, dates), "sample_weight"),
    ):
        with pytest.raises(TypeError, match=message.format(name)):
            case.make().fit(*arguments)


@pytest.mark.parametrize("dtype", ["V0", "V8", "f4,f4"])
def test_dtypes_that_are_no_numbers_are_refused(dtype, case):
    data = case.data().take(50)
    with pytest.raises(TypeError, match=r"X has the dtype .* not numeric"):
        case.make().fit(np.zeros(data.X.shape, dtype), data.y)
    with pytest.raises(TypeError, match=r"y has the dtype .* not numeric"):
        case.make().fit(data.X, np.zeros(50, dtype))


def test_lazy_frames_are_refused(case):
    data = case.data().take(50)
    with pytest.raises(TypeError, match=r"X is a LazyFrame of polars.*X\.collect\(\)"):
        case.make().fit(pl.DataFrame(data.X).lazy(), data.y)


def test_datasets_of_xarray_are_refused(case):
    data, xarray = case.data().take(50), library("xarray")
    frame = xarray.Dataset({"pixels": (("sample", "pixel"), data.X)})
    with pytest.raises(TypeError, match="X is a Dataset of xarray: pass one of its arrays"):
        case.make().fit(frame, data.y)


def test_quantities_of_pint_are_refused(case):
    data, pint = case.data().take(50), library("pint")
    X = pint.UnitRegistry().Quantity(data.X, "m")
    with pytest.raises(TypeError, match=r"X is a quantity of pint.*X\.magnitude"):
        case.make().fit(X, data.y)


def test_a_column_of_samples_is_ragged(case):
    data = case.data().take(50)
    X = np.empty(50, dtype=object)
    X[:] = [row[: 20 + i % 2] for i, row in enumerate(data.X)]
    with pytest.raises(ValueError, match=r"X .*different lengths"):
        case.make().fit(X, data.y)
