"""A pytest plugin, `-p bug_plugin`: a test runs twice, and passes if it can tell right from wrong.

As the code is, it must pass; with the mistake in place that it should find, what it asserts fails.
"""

import pytest

from tinyvae.laboratory.bugs import BUGS, planted

BY_TEST = {bug.caught_by: bug for bug in BUGS.values()}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    yield
    with planted(BY_TEST[item.nodeid].patches), pytest.raises(AssertionError):
        item.runtest()
