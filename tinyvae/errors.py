"""The one exception that says "the user can mend this"."""

import reprlib


class UserError(Exception):
    """A mistake in the input, told in one sentence: expected, got, remedy.

    The command line prints it without a traceback and exits with code 2.
    """


def flag(name):
    """The setting `name` as the command line spells it."""
    return "--" + name.replace("_", "-")


def shown(value):
    """A value of the user as a message shows it: short, whatever the value is."""
    if isinstance(value, int) and abs(value) >= 10**40:  # Python refuses to print 4301 digits
        return "a number of more than 40 digits"
    return reprlib.repr(value)
