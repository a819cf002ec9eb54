"""Chunks and embeddings: pure functions, no server."""

from __future__ import annotations

import random

import numpy as np
import pytest

from cms.chunks import split
from cms.embedding import DIMENSION, HashEmbedding

TEXTS = {
    "paragraphs": "One. Two.\n\nThree is a sentence. Four!\n\n" * 60,
    "no boundary": "x" * 5000,
    "blanks at the end": "word " * 200 + "\n" * 500,
    "other scripts": "光は二つのレンズで一点に集まる。" * 200,
    "combining marks": "e\u0301" * 3000,
    "one character": "a",
    "nothing": "",
}


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("size", [40, 600, 16_000])
def test_chunks_joined_are_the_text(name: str, size: int) -> None:
    """No character is lost, doubled or moved, and no chunk is longer than it may be."""
    text = TEXTS[name]
    chunks = list(split([text], size))
    assert "".join(chunk.text for chunk in chunks) == text
    assert [chunk.position for chunk in chunks] == list(range(len(chunks)))
    assert all(len(chunk.text) <= size for chunk in chunks[:-1])
    assert all(len(chunk.text.rstrip()) <= size for chunk in chunks)


def test_chunks_do_not_depend_on_blocks() -> None:
    """A file that is read in other blocks has the same chunks, so a repeated ingest changes nothing."""
    text = TEXTS["paragraphs"] + TEXTS["other scripts"]
    whole = list(split([text], 100))
    numbers = random.Random(7)
    for _ in range(20):
        cuts = sorted(numbers.sample(range(len(text)), 30))
        blocks = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)])]
        assert list(split(blocks, 100)) == whole


def test_chunks_end_where_sentences_end() -> None:
    """Where a sentence ends late enough, no chunk breaks one."""
    text = " ".join(f"This is sentence number {number}." for number in range(200))
    assert all(chunk.text.rstrip().endswith(".") for chunk in split([text], 300))


def test_combining_marks_stay_with_their_letter() -> None:
    """A cut never stands between a letter and its accent."""
    assert all(chunk.text[0] == "e" for chunk in split([TEXTS["combining marks"]], 41))


def test_vectors_have_the_documented_form() -> None:
    """Shape (N, 384), float32, length one, also for texts without a word."""
    vectors = HashEmbedding()(["two words", "", "  \n", "!?", "光"])
    assert vectors.shape == (5, DIMENSION) and vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1)


def test_similar_texts_have_similar_vectors() -> None:
    """Shared words and parts of words bring texts near; equal texts are equal, bit for bit."""
    same, near, far, again = HashEmbedding()(
        ["returning a lens", "the lens was returned", "holiday at christmas", "returning a lens"]
    )
    assert np.array_equal(same, again)
    assert same @ near > 0.4 > same @ far


def test_vectors_are_the_same_everywhere() -> None:
    """The hash is pinned: stored vectors stay right when this code changes."""
    vector = HashEmbedding()(["Lens, prism and mirror"])[0]
    places = np.flatnonzero(vector)
    assert [(int(place), round(float(vector[place]), 4)) for place in places[:4]] == PINNED


PINNED = [(0, -0.1374), (17, -0.1374), (25, 0.1374), (58, 0.4121)]
