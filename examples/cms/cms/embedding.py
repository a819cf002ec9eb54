"""Text to vectors: a small deterministic embedding without a model, and a switch for real models.

Every embedding here maps N texts to an array of shape (N, dimension), dtype float32, each row of
length one. So the squared L2 distance that Chroma answers is 2 - 2 * cosine similarity.
"""

from __future__ import annotations

import re
import unicodedata
import zlib
from collections.abc import Sequence
from functools import cache, lru_cache
from typing import Any, Protocol

import numpy as np

from cms.errors import CannotWork

#: Numbers in a vector of the hash embedding.
DIMENSION = 384
#: A word counts as much as this many of its n-grams.
WORD_WEIGHT = 3
#: Words up to this length are mostly grammar: they weigh 1 and have no n-grams.
SHORT_WORD_CHARS = 3
#: Lengths of the n-grams of characters, taken of the word between `<` and `>`.
GRAM_CHARS = (3, 4)

_WORDS = re.compile(r"\w+")


class Embedding(Protocol):
    """Maps texts to unit vectors.

    `name` identifies it in the library's settings; `is_exact` says that equal texts give equal
    bits on every machine, so that stored vectors can be compared without a tolerance.
    """

    name: str
    is_exact: bool

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """Returns an array of shape (len(texts), dimension), float32, rows of length one."""


class HashEmbedding:
    """Feature hashing of words and character n-grams (Weinberger et al., 2009).

    Each feature adds or subtracts its weight at one of 384 places, both chosen by its CRC-32. Sums
    are whole numbers, so the result does not depend on the machine. Texts that share words, or
    parts of words, get similar vectors; meaning beyond that is not seen.
    """

    name = "hash"
    is_exact = True

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """Returns shape (len(texts), 384), float32; a text without a word gets a fixed vector."""
        sums = np.zeros((len(texts), DIMENSION), dtype=np.float64)
        for row, text in zip(sums, texts):
            for word in _WORDS.findall(unicodedata.normalize("NFKC", text).casefold()):
                for place, weight in _features(word):
                    row[place] += weight
            if not row.any():
                row[0] = 1.0
        lengths = np.sqrt((sums * sums).sum(axis=1, keepdims=True))
        return (sums / lengths).astype(np.float32)


@lru_cache(maxsize=50_000)
def _features(word: str) -> tuple[tuple[int, int], ...]:
    """Returns the places of a word's features, each with its signed weight."""
    if len(word) <= SHORT_WORD_CHARS:
        return (_hashed(word, 1),)
    features = [_hashed(word, WORD_WEIGHT)]
    framed = f"<{word}>"
    for size in GRAM_CHARS:
        features += [_hashed(framed[at : at + size], 1) for at in range(len(framed) - size + 1)]
    return tuple(features)


def _hashed(feature: str, weight: int) -> tuple[int, int]:
    code = zlib.crc32(feature.encode("utf-8"))
    # The place comes of the low bits, the sign of the highest: they are independent.
    return code % DIMENSION, weight if code >> 31 else -weight


class ModelEmbedding:
    """A real model of the `chromadb` package: its default one, or one of sentence-transformers.

    The first use downloads the model. Vectors are normalised here, whatever the model does.
    """

    is_exact = False

    def __init__(self, name: str) -> None:
        self.name = name
        self._model: Any
        from chromadb.utils import embedding_functions

        try:
            if name == "default":
                self._model = embedding_functions.DefaultEmbeddingFunction()
            else:
                make = embedding_functions.SentenceTransformerEmbeddingFunction
                self._model = make(model_name=name)
        except Exception as error:
            # Whatever the model's own packages raise: missing package, unknown name, no network.
            raise CannotWork(f"the embedding {name!r} is not available: {error}") from error

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """Returns shape (len(texts), the model's dimension), float32."""
        try:
            vectors = np.asarray(self._model(list(texts)), dtype=np.float64)
        except Exception as error:
            raise CannotWork(f"the embedding {self.name!r} failed: {error}") from error
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        return (vectors / np.where(lengths == 0, 1, lengths)).astype(np.float32)


@cache
def embedding(name: str) -> Embedding:
    """Returns the embedding of this name: `hash`, `default`, or a sentence-transformers model.

    Raises CannotWork when the model cannot be loaded.
    """
    return HashEmbedding() if name == HashEmbedding.name else ModelEmbedding(name)


def tried(name: str) -> Embedding:
    """Returns an embedding that has embedded a text: a model that cannot be fetched is told of here."""
    made = embedding(name)
    made(["a text to try it"])
    return made
