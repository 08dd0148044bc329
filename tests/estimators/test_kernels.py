"""Fits with every kernel of this machine, each in a process that is told to use it."""

import io
import os
import subprocess
import sys

import numpy as np

from skconvfilter.kernels.dispatch import available_kernels

# Fits and streams of digits in both precisions, and what they predict.
SCRIPT = """
import sys
import numpy as np
from skconvfilter.kernels.dispatch import kernel
from tests.estimators.cases import digits, make_digits_model

data, found = digits(300), {"kernel": kernel.name}
for dtype in ("float64", "float32"):
    X = data.X.astype(dtype)
    for method in ("fit", "partial_fit"):
        model = getattr(make_digits_model(diagnostics=False), method)(X, data.y)
        found[f"{method} {dtype} coef"] = model.coef_
        found[f"{method} {dtype} intercept"] = model.intercept_
        found[f"{method} {dtype} predict"] = model.predict(X)
        maps = model.feature_map(X).mean(axis=(1, 2), dtype=float)
        found[f"{method} {dtype} maps"] = model.sign_ * maps + model.intercept_
np.savez(sys.stdout.buffer, **found)
"""


def results(name):
    """What the script finds, by name."""
    process = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env={
            **os.environ,
            "SKCONVFILTER_KERNEL": name,
            "PYTHONPATH": os.pathsep.join(sys.path),
        },
        capture_output=True,
        timeout=120,
    )
    assert process.returncode == 0, process.stderr.decode()
    return dict(np.load(io.BytesIO(process.stdout)))


def test_every_kernel_gives_the_filters_and_predictions_of_numpy(digits):
    # In one test, so that each process is started once.
    *others, numpy = available_kernels()
    of_numpy = results(numpy)
    check(of_numpy, numpy, of_numpy, digits)
    for name in others:
        check(results(name), name, of_numpy, digits)


def check(found, name, of_numpy, digits):
    assert found["kernel"] == name
    teacher = digits.teacher[0]
    np.testing.assert_allclose(found["fit float64 coef"], teacher, rtol=0, atol=1e-12)
    np.testing.assert_allclose(found["fit float32 coef"], teacher, rtol=0, atol=1e-4)
    for key in found.keys() - {"kernel"}:
        value = found[key]
        method, dtype, what = key.split()
        if what in ("coef", "predict"):
            assert value.dtype == dtype
        atol = 1e-4 if dtype == "float32" else 1e-11
        np.testing.assert_allclose(
            value, of_numpy[key], rtol=0, atol=atol, err_msg=f"{name}: {key}"
        )
        if what == "maps":
            predicted = found[f"{method} {dtype} predict"]
            np.testing.assert_allclose(
                predicted, value, rtol=0, atol=atol, err_msg=f"{name}: {key}"
            )
