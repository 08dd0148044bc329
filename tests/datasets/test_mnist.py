import gzip
import http.client
import struct
import urllib.error
import warnings
from types import SimpleNamespace

import numpy as np
import pytest

from skconvfilter.datasets import load_mnist

FETCH = "sklearn.datasets.fetch_openml"


def idx_bytes(array, code=0x08):
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, code, array.ndim, *array.shape)
    return header + array.astype(np.uint8).tobytes()


def write_part(folder, prefix, n_images, seed=0, compress=False):
    rng = np.random.RandomState(seed)
    images = rng.randint(0, 256, size=(n_images, 28, 28))
    labels = rng.randint(0, 10, size=n_images)
    for name, array in [("images-idx3-ubyte", images), ("labels-idx1-ubyte", labels)]:
        content = idx_bytes(array)
        if compress:
            (folder / f"{prefix}-{name}.gz").write_bytes(gzip.compress(content, mtime=0))
        else:
            (folder / f"{prefix}-{name}").write_bytes(content)
    return images.reshape(n_images, 784), labels


@pytest.fixture(autouse=True)
def _no_network(monkeypatch):
    """No test reaches OpenML, nor the folder of the environment."""

    def fetch(*args, **kwargs):
        raise urllib.error.URLError("no network in tests")

    monkeypatch.setattr(FETCH, fetch)
    monkeypatch.delenv("SKCONVFILTER_DATA", raising=False)


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("subset", ["test", "train", "all"])
def test_reads_idx_files(tmp_path, subset, compress):
    train_images, train_labels = write_part(tmp_path, "train", 5, 0, compress)
    test_images, test_labels = write_part(tmp_path, "t10k", 3, 1, compress)
    expected_images, expected_labels = {
        "train": (train_images, train_labels),
        "test": (test_images, test_labels),
        "all": (
            np.concatenate([train_images, test_images]),
            np.concatenate([train_labels, test_labels]),
        ),
    }[subset]
    images, labels = load_mnist(tmp_path, subset=subset)
    assert images.dtype == np.float64
    assert labels.dtype == np.int64
    assert images.flags.writeable
    assert labels.flags.writeable
    np.testing.assert_array_equal(images, expected_images / 255)
    np.testing.assert_array_equal(labels, expected_labels)


def test_data_home_goes_before_the_environment(tmp_path, monkeypatch):
    for name, n_images in [("given", 2), ("environment", 4)]:
        (tmp_path / name).mkdir()
        write_part(tmp_path / name, "t10k", n_images)
    monkeypatch.setenv("SKCONVFILTER_DATA", str(tmp_path / "environment"))
    assert len(load_mnist(str(tmp_path / "given"))[0]) == 2
    assert len(load_mnist()[0]) == 4


def test_home_is_expanded(tmp_path, monkeypatch):
    write_part(tmp_path, "t10k", 2)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert len(load_mnist("~")[0]) == 2


def test_gzip_is_known_by_its_content(tmp_path):
    _, labels = write_part(tmp_path, "t10k", 2)
    plain = tmp_path / "t10k-labels-idx1-ubyte"
    plain.rename(tmp_path / "t10k-labels-idx1-ubyte.gz")
    np.testing.assert_array_equal(load_mnist(tmp_path)[1], labels)


IMAGES = np.zeros((2, 28, 28), dtype=np.uint8)


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"", "is not an IDX file"),
        (b"<html>not found</html>", "is not an IDX file"),
        (idx_bytes(IMAGES)[:11], "is truncated: it has only 11 bytes"),
        (idx_bytes(IMAGES, code=0x0D), "entries of type code 0x0d"),
        (idx_bytes(IMAGES[0]), "has 2 axes, not 3"),
        (idx_bytes(IMAGES)[:-1], "is truncated or has a wrong header: it has 1567"),
        (idx_bytes(IMAGES) + b"\0", "is truncated or has a wrong header: it has 1569"),
        (idx_bytes(IMAGES[:, 1:]), r"has images of shape \(27, 28\)"),
        (idx_bytes(IMAGES[:1]), "has 1 images, but .*t10k-labels-idx1-ubyte has 2"),
        (gzip.compress(idx_bytes(IMAGES), mtime=0)[:-9], "is truncated or not a gzip file"),
        (b"\x1f\x8b" + b"\xff" * 20, "is truncated or not a gzip file"),
    ],
)
def test_broken_file_is_named(tmp_path, content, match):
    write_part(tmp_path, "t10k", 2)
    path = tmp_path / "t10k-images-idx3-ubyte"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=match) as caught:
        load_mnist(tmp_path)
    assert str(path) in str(caught.value)


def openml(calls):
    """A stand-in for fetch_openml: row i is all i % 256, and its digit is i % 10."""

    def fetch(name, **kwargs):
        calls.append((name, kwargs))
        rows = np.arange(70_000)
        pixels = (rows % 256).astype(np.uint8)[:, np.newaxis]
        return SimpleNamespace(
            data=np.broadcast_to(pixels, (70_000, 784)),
            target=np.array([str(row % 10) for row in rows], dtype=object),
        )

    return fetch


@pytest.mark.parametrize(
    ("subset", "first", "stop"),
    [("train", 0, 60_000), ("test", 60_000, 70_000), ("all", 0, 70_000)],
)
def test_falls_back_on_openml(tmp_path, monkeypatch, subset, first, stop):
    calls = []
    monkeypatch.setattr(FETCH, openml(calls))
    images, labels = load_mnist(tmp_path, subset=subset, dtype=np.float32)
    assert images.shape == (stop - first, 784)
    assert images.dtype == np.float32
    assert labels.dtype == np.int64
    rows = np.arange(first, stop)
    np.testing.assert_allclose(images[:, 0], rows % 256 / 255, rtol=1e-6)
    np.testing.assert_array_equal(labels, rows % 10)
    ((name, kwargs),) = calls
    assert name == "mnist_784"
    assert kwargs["version"] == 1
    assert kwargs["as_frame"] is False
    assert kwargs["data_home"] == tmp_path


@pytest.mark.parametrize(("pandas", "parser"), [(object(), "auto"), (None, "liac-arff")])
def test_openml_needs_no_pandas(monkeypatch, pandas, parser):
    calls = []
    monkeypatch.setattr(FETCH, openml(calls))
    monkeypatch.setattr("skconvfilter.datasets.mnist.find_spec", lambda name: pandas)
    load_mnist()
    assert calls[0][1]["parser"] == parser


def test_openml_fills_in_for_a_missing_file(tmp_path, monkeypatch):
    monkeypatch.setattr(FETCH, openml([]))
    monkeypatch.setenv("SKCONVFILTER_DATA", str(tmp_path))
    write_part(tmp_path, "t10k", 3)
    assert len(load_mnist()[0]) == 3
    (tmp_path / "t10k-labels-idx1-ubyte").unlink()
    assert len(load_mnist()[0]) == 10_000


@pytest.mark.parametrize(
    "failure",
    [
        urllib.error.URLError("unreachable"),
        http.client.IncompleteRead(b""),
        ValueError("md5 checksum"),
    ],
)
def test_error_says_where_it_looked(tmp_path, monkeypatch, failure):
    def fetch(*args, **kwargs):
        warnings.warn("A network error occurred. Retrying...", stacklevel=1)
        raise failure

    monkeypatch.setattr(FETCH, fetch)
    with pytest.raises(FileNotFoundError, match="fetch_openml failed with") as caught:
        load_mnist(tmp_path)
    message = str(caught.value)
    assert caught.value.__cause__ is failure
    assert repr(failure) in message
    assert f"{tmp_path} has not all of t10k-images-idx3-ubyte, t10k-labels" in message
    assert "Download t10k-images-idx3-ubyte.gz, t10k-labels-idx1-ubyte.gz" in message
    assert "SKCONVFILTER_DATA" in message


def test_error_says_that_no_folder_was_named(monkeypatch):
    match = "data_home is None and the variable SKCONVFILTER_DATA is not set"
    with pytest.raises(FileNotFoundError, match=match):
        load_mnist()
    monkeypatch.setenv("SKCONVFILTER_DATA", "")
    with pytest.raises(FileNotFoundError, match=match):
        load_mnist(subset="all")


@pytest.mark.parametrize(
    ("parameters", "error", "match"),
    [
        ({"data_home": 3}, TypeError, "data_home must be a path or None"),
        ({"subset": "valid"}, ValueError, "subset must be one of"),
        ({"subset": None}, ValueError, "subset must be one of"),
        ({"dtype": np.int64}, ValueError, "dtype must be float32 or float64"),
        ({"dtype": "pixels"}, TypeError, "dtype must be float32 or float64"),
    ],
)
def test_error_names_the_wrong_parameter(parameters, error, match):
    with pytest.raises(error, match=match):
        load_mnist(**parameters)


def test_the_real_test_set(mnist):
    images, labels = mnist
    assert images.shape == (10_000, 784)
    assert images.min() == 0
    assert images.max() == 1
    np.testing.assert_array_equal(labels[:5], [7, 2, 1, 0, 4])
    # The numbers of digits 0 to 9 in the test set.
    counts = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    np.testing.assert_array_equal(np.bincount(labels), counts)
