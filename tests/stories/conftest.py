"""What the stories have in common."""

import pytest

from watch import Builds, Fleet, Pipe


@pytest.fixture
def builds(account):
    return Builds(account)


@pytest.fixture
def fleet(account):
    """Hosts of the test's own on the shared server; gone at its end."""
    fleet = Fleet(account)
    yield fleet
    fleet.stop()


@pytest.fixture
def pipe(account):
    """Makes a pipeline and answers it as `Pipe`."""
    return lambda stages, **more: Pipe(account, account.pipeline(stages, **more))
