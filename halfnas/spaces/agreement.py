"""How far two masks decide alike."""

import numpy as np
from numpy.typing import ArrayLike


def agreement(first: ArrayLike, second: ArrayLike) -> np.ndarray:
    """Compute the share of candidates that two masks treat alike, the mean over candidates of p q + (1 - p) (1 - q).

    With p and q 1 where a candidate is kept and 0 where it is dropped, that is the share of equal decisions. With
    p and q the fractions that the masks keep of each candidate's edge, it is what masks drawn at random, and
    independently, would have on average: the agreement by chance.

    Args:
        first: p of all J candidates of a space, [..., J].
        second: q of the same candidates in the same order, [..., J]; the leading dimensions are broadcast.

    Returns:
        The agreement in [0, 1], [...].
    """
    p, q = np.asarray(first, float), np.asarray(second, float)
    return (p * q + (1 - p) * (1 - q)).mean(axis=-1)
