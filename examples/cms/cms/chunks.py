"""Cuts text into chunks that a search can find; the chunks of a text, joined, are the text.

It reads a stream of blocks and holds two chunks at most, so a file may be larger than memory.
Where the blocks end does not matter: equal texts give equal chunks.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

#: Characters of a chunk, unless said otherwise: about 100 words of English.
CHUNK_CHARS = 600
#: Bounds of that setting. Below, cuts have no room; above, a search finds pages and not passages.
CHUNK_CHARS_MIN, CHUNK_CHARS_MAX = 40, 16_000
#: A chunk never ends earlier than at this share of its size.
SHORTEST_SHARE = 0.5
#: Combining marks behind one letter that are kept with it.
MARKS_MAX = 8

_PARAGRAPH = re.compile(r"\n[ \t\r]*\n\s*")
_SENTENCE = re.compile(r"[.!?…][\"'”’)\]]*\s+|[。！？]")
_SPACE = re.compile(r"\s+")


@dataclass(frozen=True)
class Chunk:
    """A part of a document: its number, from 0, and its text."""

    position: int
    text: str


def split(blocks: Iterable[str], chunk_chars: int = CHUNK_CHARS) -> Iterator[Chunk]:
    """Yields the chunks of a text that comes in blocks.

    Each has at most `chunk_chars` characters, but for the last one, which also takes blanks at the
    end of the text. A text without any characters has no chunks.
    """
    held, buffer, position = "", "", 0
    for block in blocks:
        buffer += block
        start = 0
        while len(buffer) - start > chunk_chars:
            window = buffer[start : start + chunk_chars + 1]
            cut = _cut(window, chunk_chars)
            if held:
                yield Chunk(position, held)
                position += 1
            held = window[:cut]
            start += cut
        buffer = buffer[start:]
    if held and not buffer.strip():
        held, buffer = held + buffer, ""
    for text in (held, buffer):
        if text:
            yield Chunk(position, text)
            position += 1


def _cut(window: str, chunk_chars: int) -> int:
    """Returns where a chunk ends: behind a paragraph, a sentence or a word, if one ends late enough."""
    shortest = int(chunk_chars * SHORTEST_SHARE)
    for boundary in (_PARAGRAPH, _SENTENCE, _SPACE):
        ends = [match.end() for match in boundary.finditer(window, shortest, chunk_chars)]
        if ends:
            return ends[-1]
    cut = chunk_chars
    while chunk_chars - cut < MARKS_MAX and unicodedata.combining(window[cut]):
        cut -= 1
    return cut
