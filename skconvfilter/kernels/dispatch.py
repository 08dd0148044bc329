"""The one place that chooses which kernels run: compiled for this machine, or NumPy's."""

import os
from typing import Any, Protocol

from skconvfilter.kernels import reference
from skconvfilter.kernels.layout import FloatArray, PatchLayout

# The version of the compiled module's functions that these sources call.
_INTERFACE = 3

why_not_compiled: str | None = None
# Type checkers take `compiled` for the module, which is there in a complete installation:
# hence what is ignored where there is none.
try:
    from skconvfilter.kernels import compiled
except Exception as _error:  # a stale build may raise anything
    compiled = None  # type: ignore[assignment]
    why_not_compiled = str(_error)
else:
    if getattr(compiled, "INTERFACE", None) != _INTERFACE:
        compiled = None  # type: ignore[assignment]
        why_not_compiled = "it was built from other sources: install the package again"


class Kernel(Protocol):
    """What every kernel offers: loops over the patches of many samples.

    A patch is active for a filter w when ``w . z > 0``, strictly: the derivative of the
    ReLU at 0 is taken as 0, here and so in the whole package. Results are of the dtype of
    the samples and belong to the caller.
    """

    @property
    def name(self) -> str:
        """Of the instruction set, or "numpy"."""

    def pack(self, samples: FloatArray, layout: PatchLayout) -> Any:
        """Samples in the form that the other methods of this kernel take.

        Parameters
        ----------
        samples : ndarray of shape (n_samples, n_features), float32 or float64
            Flat samples; each row must be contiguous.
        layout : PatchLayout
            Its patches must lie within a row.
        """

    def active_mean_patches(
        self,
        packed: Any,
        layout: PatchLayout,
        filters: FloatArray,
        gate: FloatArray | None = None,
    ) -> FloatArray:
        """Mean over the patches of the active ones, for several filters at once.

        ``A[r, :, s] = (1/k) sum_i 1{filters[:, r] . Z_i > 0} Z_i`` with ``Z_1 .. Z_k`` the
        patches of sample ``s``. The model's value is ``A[r, :, s] . filters[:, r]``.
        If patches have a constant entry, the last row of A is that constant times the
        shares of active patches.

        Parameters
        ----------
        packed
            What :meth:`pack` returned.
        layout : PatchLayout
            Where the patches lie in a sample.
        filters : ndarray of shape (patch_dim, n_filters)
            The filters, as columns; cast to the dtype of the samples.
        gate : ndarray of shape (patch_dim,), default=None
            Only patches that are active for this filter as well are counted.

        Returns
        -------
        A : ndarray of shape (n_filters, patch_dim, n_samples)
        """

    def mean_activations(
        self, packed: Any, layout: PatchLayout, filters: FloatArray
    ) -> FloatArray:
        """Mean over the patches of ``relu(filters[:, r] . Z_i)``.

        Returns
        -------
        values : ndarray of shape (n_filters, n_samples)
        """

    def mean_patches(self, packed: Any, layout: PatchLayout) -> FloatArray:
        """Mean over all patches, shape (patch_dim, n_samples)."""


def available_kernels() -> list[str]:
    """Names of the kernels that this installation has on this machine, best first."""
    compiled_ones = [] if compiled is None else compiled.instruction_sets()
    return [*compiled_ones, reference.name]


def choose_kernel(name: str = "") -> Kernel:
    """The kernel of that name, by default the best one.

    Raises
    ------
    ValueError
        Where there is none of that name.
    """
    names = available_kernels()
    name = name or names[0]
    if name not in names:
        problem = "" if compiled else f" (no compiled kernels: {why_not_compiled})"
        raise ValueError(
            f"SKCONVFILTER_KERNEL={name!r} is not available{problem}: "
            f"unset it, or choose among {', '.join(names)}."
        )
    return reference if name == reference.name else compiled.Kernel(name)


kernel: Kernel = choose_kernel(os.environ.get("SKCONVFILTER_KERNEL", ""))
