"""A pytest plugin, `-p bug_plugin`: each test runs twice, with the right code and with a mistake.

The test must pass with the right code. With the mistake that the test should find, an assertion in
the test must fail.
"""

import pytest

from tinyvae.laboratory.bugs import BUGS, planted

BY_TEST = {bug.caught_by: bug for bug in BUGS.values()}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    yield
    with planted(BY_TEST[item.nodeid].patches), pytest.raises(AssertionError):
        item.runtest()
