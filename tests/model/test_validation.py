"""The range check of arrays."""

import numpy as np
import pytest

from skconvfilter.model.blocks import SampleBlocks
from skconvfilter.model.validation import check_range

OUT_OF_RANGE = [(np.float64, 1e80), (np.float64, -1e-61), (np.float32, 1e16)]


@pytest.mark.parametrize(("dtype", "size"), OUT_OF_RANGE)
@pytest.mark.parametrize("in_blocks", [False, True])
def test_arrays_out_of_range_are_refused_by_name(dtype, size, in_blocks):
    array = np.full((4, 2), size, dtype=dtype)
    if in_blocks:
        array = SampleBlocks.of_file(array, np.dtype(dtype), [slice(0, 4)])
    expected = "1e-15 to 1e+15" if dtype == np.float32 else "1e-60 to 1e+60"
    message = f"The largest entry of X is .* in size, expected from {expected}. Rescale X."
    with pytest.raises(ValueError, match=message.replace("+", r"\+")):
        check_range("X", array)


@pytest.mark.parametrize("array", [[0.0, 0.0], [1e-300, 1.0], [-1e59, 0.0], [3, -4]])
def test_zeros_and_small_entries_next_to_large_ones_are_fine(array):
    check_range("y", np.array(array))
