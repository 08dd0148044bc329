from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from skconvfilter.kernels.layout import FloatArray, PatchLayout

INTERFACE: int

class PackedSamples(NamedTuple):
    groups: FloatArray
    n_samples: int
    nonzero: NDArray[np.intp] | None

def instruction_sets() -> list[str]: ...

class Kernel:
    def __init__(self, instruction_set: str) -> None: ...
    @property
    def name(self) -> str: ...
    def pack(self, samples: FloatArray, layout: PatchLayout) -> PackedSamples: ...
    def active_mean_patches(
        self,
        packed: PackedSamples,
        layout: PatchLayout,
        filters: FloatArray,
        gate: FloatArray | None = None,
    ) -> FloatArray: ...
    def mean_activations(
        self, packed: PackedSamples, layout: PatchLayout, filters: FloatArray
    ) -> FloatArray: ...
    def mean_patches(self, packed: PackedSamples, layout: PatchLayout) -> FloatArray: ...
