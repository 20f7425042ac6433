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
    for explain in (scale, _rearranged, _constant):
        if sentence := explain(pairs, sizes):
            return sentence
    return None


def _explains(pairs, transform):
    return all(agree(got, transform(expected)) for got, expected in pairs)


def scale(pairs, sizes):
    """The factor by which each `got` is too large, as a sentence, if the factor has a name."""
    letters = list(sizes[0])
    factors = [{letter: power} for letter in ("2", *letters) for power in (1, -1)]
    for first, second in combinations(("2", *letters), 2):
        factors += [{first: a, second: b} for a, b in product((1, -1), repeat=2)]
    for factor in [{}, *factors, {"bits": 1}, {"bits": -1}]:
        for sign in (1, -1):
            if (factor or sign < 0) and all(
                agree(got, sign * _value(factor, size) * expected)
                for (got, expected), size in zip(pairs, sizes, strict=True)
            ):
                return _signed(sign, _factor(factor, sizes[0]))
    return None


def _value(factor, sizes):
    known = {"2": 2, "bits": BITS, **sizes}
    return np.prod([float(known[letter]) ** power for letter, power in factor.items()])


def _signed(sign, sentence):
    if sign > 0:
        return sentence
    return f"the sign is wrong; besides, {sentence}" if sentence else "the sign is wrong"


def _factor(factor, sizes):
    if not factor:
        return ""
    if "bits" in factor:
        return "it is in bits, not nats: the logarithm to the base 2 is not the natural one"
    if len(factor) == 2:
        above = " * ".join(letter for letter in factor if factor[letter] > 0) or "1"
        below = "".join(f" / ({letter})" for letter in factor if factor[letter] < 0)
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
    axes = pairs[0][1].ndim
    for order in list(permutations(range(axes)))[1:]:
        if _explains(pairs, lambda expected, order=order: expected.transpose(order)):
            if axes == 2:
                return "it is transposed"
            return f"the axes are in the order {order} of the expected ones"
    for count in range(1, axes + 1):
        for some in combinations(range(axes), count):
            if _explains(pairs, lambda expected, some=some: np.flip(expected, some)):
                return f"the numbers are reversed along the axes {some}"
    if all(g.size == e.size and agree(g.ravel(), e.ravel()) for g, e in pairs):
        return "the numbers are right, the shape is not: reshape"
    if all(g.size == e.size and agree(np.sort(g, None), np.sort(e, None)) for g, e in pairs):
        return "the numbers are right, their order is not"
    return None


def _constant(pairs, _):
    """A factor or a difference without a name, the same for all elements of an array."""
    if any(got.shape != expected.shape or got.size < 2 for got, expected in pairs):
        return None
    if not any(got.any() for got, _ in pairs):
        return "all elements are 0"
    got, expected = next(pair for pair in pairs if not agree(*pair))
    if all(agree(g, _ratio(g, e) * e) for g, e in pairs):
        factor = _ratio(got, expected)
        return f"it is {factor:.6g} times the expected result: a constant factor is wrong"
    if all(agree(g, e + (g - e).flat[0]) for g, e in pairs):
        difference = (got - expected).flat[0]
        way = "large" if difference > 0 else "small"
        return f"each element is {abs(difference):.6g} too {way}: a constant term is wrong"
    return None


def _ratio(got, expected):
    """The factor between the two where `expected` is largest."""
    largest = np.abs(expected).argmax()
    return got.flat[largest] / expected.flat[largest]
