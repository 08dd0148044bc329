import functools
import tracemalloc

import numpy as np
import pytest

from skconvfilter.model.blocks import SampleBlocks
from skconvfilter.model.filter_objective import FilterObjective
from tests.model.problems import make_problem


@pytest.fixture
def array():
    return np.random.default_rng(0).integers(-9, 9, (23, 3, 4), dtype=np.int16)


def blocks_of(array, dtype=np.float64, n_rows=5):
    rows = [slice(i, i + n_rows) for i in range(0, len(array), n_rows)]
    return SampleBlocks.of_file(array, np.dtype(dtype), rows)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_samples_are_flat_and_of_the_dtype_asked_for(dtype, array):
    blocks = blocks_of(array, dtype)
    assert (len(blocks), blocks.shape, blocks.dtype) == (23, (23, 12), dtype)
    read = np.asarray(blocks)
    assert read.dtype == dtype
    np.testing.assert_array_equal(read, array.reshape(23, 12))
    assert (blocks.min(), blocks.max()) == (array.min(), array.max())


SELECTIONS = {
    "slice": slice(3, 17),
    "steps": slice(None, None, 4),
    "mask": np.arange(23) % 3 == 1,
    "indices": np.array([0, 4, 5, 5, 21, 22]),
    "nothing left out": slice(None),
}


@pytest.mark.parametrize("rows", SELECTIONS.values(), ids=SELECTIONS)
def test_selections_are_those_of_the_array(rows, array):
    selected, expected = blocks_of(array)[rows], array.reshape(23, 12)[rows]
    assert selected.shape == expected.shape
    np.testing.assert_array_equal(selected, expected)
    np.testing.assert_array_equal(selected[1::2], expected[1::2])
    columns = np.arange(23.0)[rows]
    parts = selected.split(columns, None)
    assert all(nothing is None for _, _, nothing in parts)
    np.testing.assert_array_equal(np.concatenate([part[1] for part in parts]), columns)


def test_rows_must_be_in_order(array):
    with pytest.raises(IndexError, match="increasing"):
        blocks_of(array)[[3, 2]]


def test_results_are_merged_in_the_order_of_the_blocks(array):
    blocks = blocks_of(array)[2:]
    found = blocks.reduce(
        lambda samples, numbers: [(samples[0, 0], numbers[0])],
        lambda parts: functools.reduce(list.__add__, parts),
        blocks.split(np.arange(2, 23)),
    )
    assert found == [(array[i, 0, 0], i) for i in (2, 5, 10, 15, 20)]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda part: part.fill(np.nan), "contains NaN in block 2, rows 10 to 14"),
        (lambda part: part.fill(-np.inf), "contains infinity in block 2, rows 10 to 14"),
    ],
)
def test_the_first_pass_checks_every_block(spoil, message, array):
    array = array.astype(float)
    spoil(array[12])
    with pytest.raises(ValueError, match=message):
        blocks_of(array).max()
    # Those not selected, too: they may be used elsewhere.
    with pytest.raises(ValueError, match=message):
        blocks_of(array)[:3].min()


def test_blocks_are_not_kept():
    problem = make_problem(n_samples=1000)
    blocks = blocks_of(problem.samples, problem.samples.dtype, 64)
    objective = FilterObjective(blocks, problem.geometry, problem.targets)
    tracemalloc.start()
    objective.gauss_newton(problem.W, problem.signs)
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 0.1 * problem.samples.nbytes
    assert peak < problem.samples.nbytes
