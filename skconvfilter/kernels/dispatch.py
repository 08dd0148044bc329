"""The one place that chooses which kernels run: compiled for this machine, or NumPy's."""

import os

from skconvfilter.kernels import reference

# The version of the compiled module's functions that these sources call.
_INTERFACE = 1

try:
    from skconvfilter.kernels import compiled
except Exception as error:  # a stale build may raise anything
    compiled = None
    why_not_compiled = str(error)
else:
    why_not_compiled = None
    if getattr(compiled, "INTERFACE", None) != _INTERFACE:
        compiled = None
        why_not_compiled = "it was built from other sources: install the package anew"


def available_kernels():
    """Names of the kernels that this installation has on this machine, best first."""
    compiled_ones = [] if compiled is None else compiled.instruction_sets()
    return [*compiled_ones, reference.name]


def choose_kernel(name=""):
    """The kernel of that name, by default the best one.

    Returns
    -------
    kernel : object
        With `name`, `pack`, `active_mean_patches`, `mean_activations` and `mean_patches`,
        as :mod:`skconvfilter.kernels.reference` describes them.

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


kernel = choose_kernel(os.environ.get("SKCONVFILTER_KERNEL", ""))
