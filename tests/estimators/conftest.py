import pytest

from tests.estimators import cases


@pytest.fixture(params=cases.CASES, ids=str)
def case(request):
    """Each regressor with its defaults, as a :class:`tests.estimators.cases.Case`."""
    return request.param


@pytest.fixture(params=cases.RECIPES, ids=str)
def recipe(request):
    """The same with every solver, and some models."""
    return request.param


@pytest.fixture(scope="session")
def digits():
    """300 images of digits and noiseless targets of one filter."""
    return cases.digits(300)


@pytest.fixture(scope="session")
def all_digits():
    """1797 images of digits: several of the blocks that threads work on."""
    return cases.digits()


@pytest.fixture
def make_model():
    """Makes regressors for images of digits: ``make_model(n_init=4)``."""
    return cases.make_digits_model
