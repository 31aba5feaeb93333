"""Texts of made-up tokens."""

import numpy as np
import numpy.typing as npt

Text = list[int]


def packed(texts: list[Text]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Texts as models take them: tokens, one text after another, and where each ends."""
    return np.array([token for text in texts for token in text], dtype=np.int64), np.cumsum([len(text) for text in texts])
