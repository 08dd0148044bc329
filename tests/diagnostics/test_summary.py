"""What results and displays look like as the last line of a cell."""

import html.parser

import matplotlib.pyplot as plt
import numpy as np
import pytest

from skconvfilter import ConvFilterBankRegressor, ConvReLUFilterRegressor
from skconvfilter.datasets import make_filter_regression
from skconvfilter.diagnostics import Recovery, interpolation, local_convexity, recovery
from skconvfilter.plotting import (
    ConvergenceDisplay,
    FilterDisplay,
    InterpolationDisplay,
    SmoothnessDisplay,
)


class Table(html.parser.HTMLParser):
    """The text of a table, row by row."""

    def __init__(self, source):
        super().__init__()
        self.open, self.rows = [], []
        self.feed(source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)
        if tag == "tr":
            self.rows.append([])

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1] == "td":
            self.rows[-1].append(data)


@pytest.fixture(scope="module")
def model():
    model = ConvReLUFilterRegressor(kernel_size=3, random_state=0)
    X, y, teacher = make_filter_regression(
        200, model, noise=0.1, return_teacher=True, random_state=0
    )
    return model.fit(X, y), X, teacher


@pytest.fixture(scope="module")
def shown(model):
    """One of every class that shows itself."""
    model, X, teacher = model
    certificate = model.certificate_
    bank = ConvFilterBankRegressor(n_filters=2, kernel_size=3)
    objects = [
        certificate,
        certificate.path,
        certificate.smoothness,
        certificate.smoothness.gamma,
        certificate.convexity,
        certificate.checks[0],
        recovery(model, teacher, X),
        interpolation(X, model, teacher),
        local_convexity(X, np.eye(3)[:2], estimator=bank),
        FilterDisplay.from_estimator(model),
        ConvergenceDisplay.from_estimator(model),
        InterpolationDisplay.from_filters(X, model, teacher),
        SmoothnessDisplay(result=certificate.smoothness).plot(),
    ]
    yield {type(shown).__name__: shown for shown in objects}
    plt.close("all")


def test_every_repr_is_a_short_line(shown):
    for name, value in shown.items():
        text = repr(value)
        assert text.startswith(f"{name}(")
        assert text.endswith(")")
        assert len(text) <= 250
        assert "\n" not in text


def test_every_table_is_well_formed_and_short(shown):
    for name, value in shown.items():
        source = value._repr_html_()
        rows = Table(source).rows
        assert rows
        assert f"<caption>{name}</caption>" in source
        assert {len(row) for row in rows} <= {2, 3}
        assert len(source) < 3_000


def test_certificate_shows_the_verdicts(model):
    certificate = model[0].certificate_
    rows = Table(certificate._repr_html_()).rows
    checks = [
        (check.theorem, check.verdict, check.condition) for check in certificate.checks
    ]
    assert [tuple(row) for row in rows] == checks
    assert all(check.theorem in repr(certificate) for check in certificate.checks)
    # The full report stays.
    assert len(str(certificate)) > 1_000


def test_numbers_are_shown_and_long_arrays_are_not():
    result = Recovery(
        permutation=np.arange(2),
        angles=np.array([0.123456, 0.5]),
        angle=0.5,
        relative_errors=np.arange(100.0),
        relative_error=1 / 3,
        relative_error_on_data=np.nan,
        relative_loss=np.nan,
        indistinguishable=None,
    )
    rows = dict(Table(result._repr_html_()).rows)
    assert rows["permutation"] == "[0, 1]"
    assert rows["angles"] == "[0.1235, 0.5   ]"
    assert rows["relative_errors"] == "array of shape (100,)"
    assert rows["relative_error"] == "0.3333"
    assert rows["indistinguishable"] == "None"
    assert "relative_error=0.3333" in repr(result)
