"""Arrays as people have them become arrays as a Dataset holds them.

A Dataset holds images (N, C, H, W) or vectors (N, D), as uint8 or float32, and int64 labels (N,).
"""

import numpy as np

from tinyvae.errors import UserError
from tinyvae.rng import generator

CHANNELS = (1, 3)  # grey or colour
SPLIT_SEED = 0
DARK = 64  # images of uint8 without a value of at least this are on another scale than 0 to 255
MOST_ROUNDING = 2e-3  # of a column's standard deviation: the step from one float32 to the next


def as_examples(x, what, columns=None):
    """Images (N, C, H, W) or vectors (N, D), uint8 or float32, from what NumPy can read.

    uint8 stays uint8; every other number and bool becomes float32. Three axes are grey images
    (N, H, W). Four axes are images whose channels stand second or last. `what` names the array in
    errors, and `columns`, if given, those of vectors. The result can share memory with x. Raises
    UserError for anything else, and for vectors that float32 cannot hold.
    """
    x = _as_numbers(x, what)
    if x.ndim == 3 and x.shape[2] == 3:
        raise UserError(
            f"cannot tell whether {what} is one colour image or many grey images of three columns, "
            f"found the shape {x.shape}; x[None] says the first, x[..., None] the second"
        )
    if x.ndim == 3:
        x = x[:, None]
    elif x.ndim == 4:
        x = _channels_second(x, what)
    elif x.ndim != 2:
        raise UserError(
            f"expected {what} as images (N, H, W), (N, H, W, 3) or (N, 3, H, W), or as vectors "
            f"(N, D), found the shape {x.shape}; reshape it, x[:, None] makes one column"
        )
    elif x.size and np.promote_types(x.dtype, np.float32) != np.float32:
        _require_precision(x, what, columns)
    with np.errstate(over="ignore"):  # a value beyond float32 becomes inf, which Dataset refuses
        return np.ascontiguousarray(x, np.uint8 if x.dtype == np.uint8 else np.float32)


def _require_precision(x, what, columns):
    """Refuse a column that varies so little around so large a number that float32 rounds it away.

    A timestamp in seconds is such a column: near 1.7e9, float32 holds multiples of 128 only.
    """
    with np.errstate(all="ignore"):  # Dataset refuses what is not finite
        most, spread = np.abs(x).max(axis=0), x.std(axis=0, dtype=np.float64)
        step = np.spacing(most.astype(np.float32)).astype(np.float64)
        varies = x.max(axis=0) != x.min(axis=0)  # the std of a constant may be 1e-17
        lost = np.flatnonzero(varies & (step > MOST_ROUNDING * spread))
    if len(lost):
        i = lost[0]
        raise UserError(
            f"expected columns of {what} that float32 can hold, found {column_name(i, columns)}, "
            f"whose values, up to {most[i]:.6g}, have a standard deviation of "
            f"{spread[i]:.3g}, while float32 rounds them to multiples of {step[i]:.3g}; subtract "
            f"the column's mean from it first"
        )


def column_name(index, columns):
    """What a message calls a column; columns: the names of all, or None."""
    return f"column {index}" if columns is None else f"column {columns[index]!r}"


def as_labels(y, what):
    """int64 labels (N,) from integers or bool of shape (N,) or (N, 1). Raises UserError."""
    y = _as_numbers(y, what, "class numbers, as np.unique(y, return_inverse=True)[1] makes them")
    if y.dtype.kind not in "iub":
        raise UserError(
            f"expected {what} as integers, found {y.dtype}; convert labels with y.astype(int), or "
            f"leave them out if they are measurements"
        )
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim != 1:
        raise UserError(
            f"expected {what} as one integer an example, found the shape {y.shape}; "
            f"y.argmax(axis=1) turns one-hot rows into integers"
        )
    return np.ascontiguousarray(y, np.int64)


def require_unmasked(x, what):
    """Raise UserError for a masked array with masked values: NumPy would read what is masked."""
    if np.ma.is_masked(x):
        raise UserError(
            f"expected {what} without missing values, found a masked array; fill them, or leave "
            f"out these examples"
        )


def zeros_and_ones(*arrays):
    """Whether these uint8 arrays hold nothing above 1: a mask, not grey levels from 0 to 255."""
    return all(x.dtype == np.uint8 for x in arrays) and 1 == max(x.max(initial=0) for x in arrays)


def require_grey_levels(name, *arrays):
    """Refuse images of uint8 that are nearly black: their values may mean something else."""
    images = [x for x in arrays if x.dtype == np.uint8 and x.ndim == 4]
    most = max((x.max(initial=0) for x in images), default=0)
    if 1 < most < DARK:
        raise UserError(
            f"expected images of uint8 from 0 to 255 in {name}, found none above {most}; if "
            f"{most} is white, give them as floats, x / {most}"
        )


def split(n, name):
    """Sorted indices of n examples: those to train on, and a random fifth to test on.

    Raises UserError for n < 2, where `name` is the data set's.
    """
    if n < 2:
        raise UserError(
            f"expected at least 2 examples in {name} to split into a training and a test set, "
            f"found {n}; give more examples, or a test set"
        )
    count = max(1, n // 5)
    order = generator(SPLIT_SEED, "test split").permutation(n)
    return np.sort(order[count:]), np.sort(order[:count])


def _as_numbers(x, what, remedy="numbers, such as x.astype(np.float32)"):
    """x as an array of bool, integers or floats."""
    require_unmasked(x, what)
    try:
        x = np.asarray(x)
    except Exception as error:  # a torch tensor or a CuPy array has its own reasons
        reason = " ".join(str(error).split())
        if "inhomogeneous" in reason:
            reason = "rows or examples of different sizes"
        raise UserError(
            f"expected {what} as one array, found what NumPy cannot read ({reason}); give examples "
            f"of one size, as a NumPy array"
        ) from error
    if x.dtype.kind not in "biuf":
        shapes = {np.shape(example) for example in x.flat} if x.dtype == object else ()
        if len(shapes) > 1:
            first, second, *_ = sorted(shapes)
            raise UserError(
                f"expected all examples in {what} to have one shape, found {first} and {second}; "
                f"crop or resize them"
            )
        raise UserError(f"expected {what} to hold numbers, found {x.dtype}; convert to {remedy}")
    return x


def _channels_second(x, what):
    second, last = x.shape[1] in CHANNELS, x.shape[3] in CHANNELS
    if second and last:
        raise UserError(
            f"cannot tell which axis of {what} holds the channels, found the shape {x.shape}; "
            f"build Dataset(name, x_train, y_train, x_test, y_test), whose images are (N, C, H, W)"
        )
    if not second and not last:
        raise UserError(
            f"expected {what} to have 1 or 3 channels, on the second or the last axis, found the "
            f"shape {x.shape}; select the channels, as x[..., :3] does for RGBA"
        )
    return x if second else x.transpose(0, 3, 1, 2)
