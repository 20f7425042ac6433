"""Where a wrong array differs from the expected one, and by what simple transformation."""

from itertools import combinations, permutations, product

import numpy as np

TOLERANCE = {2: 1e-2, 4: 1e-5, 8: 1e-9}  # by the bytes of a float, relative to the largest element
ALL = {  # what there are this many of
    "N": "the batch",
    "D": "the D numbers of an example",
    "O": "the outputs",
    "L": "the latent dimensions",
    "S": "the samples",
    "Ho Wo": "the positions of the kernel",
    "Kh Kw": "the taps of the kernel",
}
BITS = 1 / np.log(2)


def differing(got, expected):
    """True for each element that differs by more than rounding; the shapes are the same."""
    finite = np.isfinite(expected)
    largest = np.abs(expected[finite]).max(initial=0.0) or 1.0
    tolerance = TOLERANCE.get(got.dtype.itemsize if got.dtype.kind == "f" else 8, 1e-9)
    got, expected = got * 1.0, expected * 1.0  # bool has no difference
    both_nan = np.isnan(got) & np.isnan(expected)
    return ~((got == expected) | both_nan | (np.abs(got - expected) <= tolerance * largest))


def agree(got, expected):
    return got.shape == expected.shape and not differing(got, expected).any()


def first_difference(name, got, expected):
    """One sentence: the first element that differs, and by how much."""
    if got.shape != expected.shape:
        return f"{name} has the shape {got.shape}, expected {expected.shape}"
    wrong = differing(got, expected)
    index = tuple(np.argwhere(wrong)[0])
    mine, right = got[index] + 0.0, expected[index] + 0.0  # + 0.0 turns -0.0 into 0.0
    digits = next((d for d in (6, 9, 12) if f"{mine:.{d}g}" != f"{right:.{d}g}"), 17)
    place = f"[{', '.join(map(str, index))}]" if index else ""
    off = f", off by {abs(mine - right):.3g}" if np.isfinite(mine) else ""
    count = f" ({wrong.sum()} of {wrong.size} elements differ)" if index else ""
    return f"{name}{place} is {mine:.{digits}g}, expected {right:.{digits}g}{off}{count}"


def transformation(pairs, sizes):
    """A sentence: how each `got` of the pairs (got, expected) comes from `expected`, or None.

    sizes: of each pair, {letter: size}. The same transformation must explain all pairs.
    """
    if not all(np.isfinite(got).all() for got, _ in pairs):
        return None
    for explain in (scale, _rearranged, _reduced, _constant):
        if sentence := explain(pairs, sizes):
            return sentence
    return None


def scale(pairs, sizes):
    """The factor by which each `got` differs, as a sentence, if it is made of 2 and the sizes."""
    factors = _ratios(pairs)
    if factors is None:
        return None
    for named, sign in product(_named_factors(sizes[0]), (1, -1)):
        if np.allclose(factors, [sign * _value(named, size) for size in sizes], rtol=1e-5, atol=0):
            wrong_sign = "the sign is wrong" if sign < 0 else ""
            factor = _factor(named, sizes[0]) if named else ""
            return "; besides, ".join(filter(None, (wrong_sign, factor)))
    return None


def _ratios(pairs):
    """The factor between `got` and `expected` in each pair; None if there is none."""
    if not all(got.shape == expected.shape and expected.any() for got, expected in pairs):
        return None
    ratios = []
    for got, expected in pairs:
        largest = np.abs(expected).argmax()
        ratios.append(got.flat[largest] / expected.flat[largest])
    same = all(agree(g, ratio * e) for ratio, (g, e) in zip(ratios, pairs, strict=True))
    return ratios if same and np.isfinite(ratios).all() else None


def _named_factors(letters):
    """{letter: power}: {} for 1, then 2, the sizes, their inverses, products and quotients."""
    letters = ["2", *letters]
    yield from ({}, {"bits": 1})
    yield from ({letter: power} for letter in letters for power in (1, -1))
    for first, second in combinations(letters, 2):
        yield from ({first: a, second: b} for a, b in product((1, -1), repeat=2))


def _value(factor, sizes):
    known = {"2": 2, "bits": BITS, **sizes}
    return np.prod([float(known[letter]) ** power for letter, power in factor.items()])


def _factor(factor, sizes):
    if "bits" in factor:
        return "it is in bits, not nats: the logarithm is to the base 2, not the natural one"
    if len(factor) == 2:
        above = " * ".join(letter for letter in factor if factor[letter] > 0) or "1"
        below = "".join(f" / {letter}" for letter in factor if factor[letter] < 0)
        return f"it is {above}{below} = {_value(factor, sizes):.4g} times the expected result"
    ((letter, power),) = factor.items()
    if letter == "2":
        return (
            "it is twice the expected result: a factor 1/2 is missing"
            if power > 0
            else "it is half of the expected result: a factor 1/2 should not be there"
        )
    size = f"{letter} = {sizes[letter]}"
    mean = f"the factor 1/{letter}" + (f", a mean over {ALL[letter]}," if letter in ALL else "")
    if power > 0:
        return f"it is {size} times too large: {mean} is missing"
    return f"it is {size} times too small: {mean} should not be there"


def _rearranged(pairs, _):
    def explains(change):
        return all(agree(got, change(expected)) for got, expected in pairs)

    axes = range(pairs[0][1].ndim)
    for order in list(permutations(axes))[1:]:
        if explains(lambda expected, order=order: expected.transpose(order)):
            swapped = f"the axes are in the order {order} of the expected ones"
            return "it is transposed" if len(axes) == 2 else swapped
    for count in axes:
        for some in combinations(axes, count + 1):
            if explains(lambda expected, some=some: np.flip(expected, some)):
                return f"the numbers are reversed along the axes {some}"
    if any(got.size != expected.size for got, expected in pairs):
        return None
    if all(agree(got.ravel(), expected.ravel()) for got, expected in pairs):
        return "the numbers are right, the shape is not: reshape"
    if all(agree(np.sort(got, None), np.sort(expected, None)) for got, expected in pairs):
        return "the numbers are right, their order is not"
    return None


def _reduced(pairs, sizes):
    """Sums or means over some axes that are missing, or that should not be taken."""
    if not all(got.size for got, _ in pairs):
        return None
    for full in (0, 1):  # whether the larger array is the one that was got, or the expected one
        shape = pairs[0][full].shape
        for kinds in product(("", "sum", "mean"), repeat=len(shape)):
            reductions = [(kind, axis) for axis, kind in enumerate(kinds) if kind]
            if reductions and all(agree(_apply(reductions, p[full]), p[1 - full]) for p in pairs):
                names = " and ".join(_over(*one, shape, sizes[0]) for one in reductions)
                missing = "is missing" if len(reductions) == 1 else "are missing"
                return f"{names} {'should not be taken' if full else missing}"
    return None


def _apply(reductions, array):
    for kind, axis in reversed(reductions):  # so that the numbers of earlier axes stay
        array = getattr(array, kind)(axis=axis)
    return np.asarray(array)


def _over(kind, axis, shape, sizes):
    letters = [name for name, size in sizes.items() if size == shape[axis] and len(name) == 1]
    letter = f" ({letters[0]})" if letters else ""
    return f"the {kind} over axis {axis}{letter}"


def _constant(pairs, _):
    """A factor or a difference without a name, the same for all elements of an array."""
    if any(got.shape != expected.shape or got.size < 2 for got, expected in pairs):
        return None
    if not any(got.any() for got, _ in pairs):
        return "all elements are 0"
    first = next(i for i, pair in enumerate(pairs) if not agree(*pair))
    if factors := _ratios(pairs):
        return f"it is {factors[first]:.6g} times the expected result: a constant factor is wrong"
    if all(agree(got, expected + (got - expected).flat[0]) for got, expected in pairs):
        got, expected = pairs[first]
        difference = (got - expected).flat[0]
        way = "large" if difference > 0 else "small"
        return f"each element is {abs(difference):.6g} too {way}: a constant term is wrong"
    return None
