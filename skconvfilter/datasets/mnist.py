"""MNIST from the classic IDX files, or from OpenML."""

import gzip
import math
import os
import struct
import warnings
import zlib
from http.client import HTTPException
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import DTypeLike, NDArray

from skconvfilter.kernels.layout import FloatArray

_DATA_VARIABLE = "SKCONVFILTER_DATA"
_PARTS = {"train": ("train",), "test": ("test",), "all": ("train", "test")}
_PREFIXES = {"train": "train", "test": "t10k"}
_N_TRAIN = 60_000
_OPENML_ROWS = {
    "train": slice(None, _N_TRAIN),
    "test": slice(_N_TRAIN, None),
    "all": slice(None),
}
_IMAGE_SHAPE = (28, 28)
_UNSIGNED_BYTE = 0x08
_GZIP_MAGIC = b"\x1f\x8b"


def load_mnist(
    data_home: str | os.PathLike[str] | None = None,
    *,
    subset: Literal["test", "train", "all"] = "test",
    dtype: DTypeLike = np.float64,
) -> tuple[FloatArray, NDArray[np.int64]]:
    """Load the MNIST handwritten digits, one flat 28 x 28 image per row.

    The images are read from the classic IDX files, plain or gzipped
    (``t10k-images-idx3-ubyte`` and ``t10k-labels-idx1-ubyte`` for the test set,
    ``train-...`` for the training set), if the folder has those of the subset. Otherwise
    :func:`sklearn.datasets.fetch_openml` downloads them or reads them from its cache.

    Parameters
    ----------
    data_home : str or path-like, default=None
        Folder of the IDX files, and of the cache of `fetch_openml`. If None, the folder in
        the environment variable ``SKCONVFILTER_DATA``, and the default cache.
    subset : {"test", "train", "all"}, default="test"
        The 10,000 test images, the 60,000 training images, or both, training first.
    dtype : {np.float64, np.float32}, default=np.float64
        Dtype of the images.

    Returns
    -------
    images : ndarray of shape (n_samples, 784), dtype
        Pixels from 0 (background) to 1, row by row.
    labels : ndarray of shape (n_samples,), int64
        The digits.

    Raises
    ------
    TypeError, ValueError
        If a parameter or the content of a file is invalid.
    FileNotFoundError
        If there are no IDX files and the download from OpenML fails.

    See Also
    --------
    make_filter_regression : Labels images by a known filter.

    References
    ----------
    LeCun, Bottou, Bengio & Haffner, "Gradient-based learning applied to document
    recognition" (1998).

    Du, Lee & Tian, "When is a Convolutional Filter Easy to Learn?" (ICLR 2018),
    section 4, Figures 3c to 5.

    Examples
    --------
    >>> from skconvfilter.datasets import load_mnist
    >>> images, labels = load_mnist(subset="test")  # doctest: +SKIP
    >>> images.shape, labels.shape  # doctest: +SKIP
    ((10000, 784), (10000,))
    """
    if data_home is not None and not isinstance(data_home, str | os.PathLike):
        raise TypeError(f"data_home must be a path or None, got {data_home!r}.")
    if not isinstance(subset, str) or subset not in _PARTS:
        raise ValueError(f"subset must be one of {list(_PARTS)}, got {subset!r}.")
    checked = _check_dtype(dtype)
    folder = os.environ.get(_DATA_VARIABLE) or None if data_home is None else data_home
    files = None if folder is None else _find_files(folder, _PARTS[subset])
    if files is None:
        images, labels = _fetch(data_home, folder, subset)
    else:
        images, labels = _read_files(files)
    pixels = images.astype(checked)
    pixels /= 255
    return pixels, labels.astype(np.int64)


def _check_dtype(dtype: DTypeLike) -> np.dtype[Any]:
    try:
        checked = np.dtype(dtype)
    except TypeError as error:
        raise TypeError(f"dtype must be float32 or float64, got {dtype!r}.") from error
    if checked not in (np.float32, np.float64):
        raise ValueError(f"dtype must be float32 or float64, got {dtype!r}.")
    return checked


def _file_names(part: str) -> tuple[str, str]:
    prefix = _PREFIXES[part]
    return f"{prefix}-images-idx3-ubyte", f"{prefix}-labels-idx1-ubyte"


def _find_files(
    folder: str | os.PathLike[str], parts: tuple[str, ...]
) -> list[tuple[Path, Path]] | None:
    """Paths of images and labels for each part, or None if one is missing."""
    home = Path(folder).expanduser()
    files = []
    for part in parts:
        images, labels = (_find_file(home, name) for name in _file_names(part))
        if images is None or labels is None:
            return None
        files.append((images, labels))
    return files


def _find_file(folder: Path, name: str) -> Path | None:
    candidates = (folder / name, folder / f"{name}.gz")
    return next((path for path in candidates if path.is_file()), None)


def _read_files(files: list[tuple[Path, Path]]) -> tuple[NDArray[Any], NDArray[Any]]:
    images, labels = [], []
    for image_path, label_path in files:
        images.append(_read_idx(image_path, n_axes=3))
        labels.append(_read_idx(label_path, n_axes=1))
        if images[-1].shape[1:] != _IMAGE_SHAPE:
            raise ValueError(
                f"{image_path} has images of shape {images[-1].shape[1:]}, not "
                f"{_IMAGE_SHAPE}."
            )
        if len(images[-1]) != len(labels[-1]):
            raise ValueError(
                f"{image_path} has {len(images[-1])} images, but {label_path} has "
                f"{len(labels[-1])} labels."
            )
    flat = [part.reshape(len(part), math.prod(_IMAGE_SHAPE)) for part in images]
    return np.concatenate(flat), np.concatenate(labels)


def _read_idx(path: Path, n_axes: int) -> NDArray[np.uint8]:
    """Array of unsigned bytes in an IDX file.

    The file is two zero bytes, the code of the type, the number of axes, the sizes of
    the axes as big-endian 32-bit integers, and the entries in C order.
    """
    content = _read_bytes(path)
    start = 4 + 4 * n_axes
    if content[:2] != b"\0\0":
        raise ValueError(f"{path} is not an IDX file: it must begin with 0, 0.")
    if len(content) < start:
        raise ValueError(f"{path} is truncated: it has only {len(content)} bytes.")
    if content[2] != _UNSIGNED_BYTE:
        raise ValueError(
            f"{path} has entries of type code {content[2]:#04x}, not unsigned bytes "
            f"({_UNSIGNED_BYTE:#04x})."
        )
    if content[3] != n_axes:
        raise ValueError(f"{path} has {content[3]} axes, not {n_axes}.")
    shape = struct.unpack(f">{n_axes}I", content[4:start])
    if len(content) - start != math.prod(shape):
        raise ValueError(
            f"{path} is truncated or has a wrong header: it has {len(content) - start} "
            f"entries, but its header says the shape {shape}."
        )
    return np.frombuffer(content, dtype=np.uint8)[start:].reshape(shape)


def _read_bytes(path: Path) -> bytes:
    content = path.read_bytes()
    # By content, not by name: browsers unpack a download and leave its name.
    if not content.startswith(_GZIP_MAGIC):
        return content
    try:
        return gzip.decompress(content)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(f"{path} is truncated or not a gzip file: {error}") from error


def _fetch(
    data_home: str | os.PathLike[str] | None,
    folder: str | os.PathLike[str] | None,
    subset: str,
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Images and labels from OpenML, whose first 60,000 rows are the training set."""
    # It would take a third of the time that the package adds to scikit-learn's import.
    from sklearn.datasets import fetch_openml

    try:
        with warnings.catch_warnings():
            # Of every attempt; the last one's failure is in the error below.
            warnings.simplefilter("ignore", UserWarning)
            data = fetch_openml(
                "mnist_784",
                version=1,
                as_frame=False,
                # The automatic choice insists on pandas, which is not a dependency.
                parser="auto" if find_spec("pandas") else "liac-arff",
                data_home=data_home,
            )
    # A ValueError is OpenML's refusal of a request, or a wrong checksum.
    except (OSError, HTTPException, ValueError) as error:
        names = [name for part in _PARTS[subset] for name in _file_names(part)]
        looked = (
            f"data_home is None and the variable {_DATA_VARIABLE} is not set"
            if folder is None
            else f"{os.fspath(folder)} has not all of {', '.join(names)} (or .gz)"
        )
        raise FileNotFoundError(
            f"MNIST was not found: {looked}, and fetch_openml failed with {error!r}. "
            f"Download {', '.join(f'{name}.gz' for name in names)} from "
            "https://ossci-datasets.s3.amazonaws.com/mnist/ into a folder, and pass "
            f"the folder as data_home or set {_DATA_VARIABLE} to it."
        ) from error
    rows = _OPENML_ROWS[subset]
    return data.data[rows], data.target[rows]
