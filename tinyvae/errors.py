"""The one exception that says "the user can mend this"."""


class UserError(Exception):
    """A mistake in the input, told in one sentence: expected, got, remedy.

    The command line prints it without a traceback and exits with code 2.
    """
