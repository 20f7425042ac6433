"""The options of a model: settings that only one kind of model has."""

from dataclasses import dataclass
from numbers import Integral, Real

from tinyvae.errors import UserError, flag, shown

MOST = 2**29  # of a width: NumPy can express the size of a matrix of two such widths


@dataclass(frozen=True)
class Option:
    """What an option is: its default, what it means (help), and which values it takes.

    The values have the type of the default. A value is a word of `choices`; or a number, whole if
    the default is, of at least `least`; or such whole numbers in a tuple.
    """

    default: str | int | float | tuple
    help: str
    choices: tuple = ()
    least: float = 1

    def checked(self, name, value):
        """The value in the type of the default. Raises UserError if it makes no sense."""
        if isinstance(self.default, str):
            if value not in self.choices:
                raise UserError(
                    f"{flag(name)} must be one of {', '.join(self.choices)}, got {shown(value)}"
                )
            return value
        if isinstance(self.default, float):
            if not is_number(value) or not self.least <= value < float("inf"):
                raise UserError(
                    f"{flag(name)} must be a finite number of at least {self.least:g}, got "
                    f"{shown(value)}"
                )
            return float(value)
        several = isinstance(self.default, tuple)
        numbers = counts(name, value if several else (value,), self.least)
        return numbers if several else numbers[0]


def counts(name, values, least=1):
    """The values as a tuple of ints. Raises UserError unless each is a whole number from `least`.

    values: one, or several in a list or tuple; `least` must be reached, and MOST not exceeded.
    """
    values = tuple(values) if isinstance(values, list | tuple) else (values,)
    if not values or not all(is_count(value, least) for value in values):
        large = any(isinstance(value, Integral | float) and value > MOST for value in values)
        limits = f"of at least {least} and at most {MOST}" if large else f"of at least {least}"
        got = ",".join(map(shown, values)) or "nothing"
        what = "a whole number" if len(values) == 1 else "whole numbers"
        raise UserError(f"{flag(name)} must be {what} {limits}, got {got}")
    return tuple(map(int, values))


def is_count(value, least=1):
    """Whether the value is a whole number from `least` to MOST."""
    try:
        return is_number(value) and float(value) == int(value) and least <= int(value) <= MOST
    except (OverflowError, ValueError):  # infinite, or NaN
        return False


def is_number(value):
    """Whether the value is a real number; True and False are none."""
    return isinstance(value, Real) and not isinstance(value, bool)
