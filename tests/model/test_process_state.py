"""State of the process that several threads change."""

from contextlib import ExitStack, contextmanager

import pytest

from skconvfilter.model.process_state import SharedContext


@pytest.mark.parametrize("last", [0, 1])
def test_what_the_first_changes_the_last_restores(last):
    setting = [2]

    @contextmanager
    def lowered():
        found, setting[0] = setting[0], 1
        yield
        setting[0] = found

    shared = SharedContext(lowered)
    for _ in range(2):
        stacks = [ExitStack(), ExitStack()]
        for stack in stacks:
            stack.enter_context(shared.held())
        stacks[1 - last].close()
        assert setting == [1]
        stacks[last].close()
        assert setting == [2]
