"""The clients of a load: writers that keep a folder and the library the same, readers that search.

Each writer owns its files, so it knows what the library must say of them: after each change it reads
the document back. What a failed request leaves behind is `uncertain` until the next change of that
document succeeds.
"""

from __future__ import annotations

import os
import random
import threading
from collections import Counter
from pathlib import Path
from typing import Callable

from cms.chunks import split
from cms.errors import UnknownDocument
from cms.files import Reading, SourceFile
from cms.library import Library
from cms.recorder import RequestFailed

#: Documents of one writer.
DOCUMENTS_PER_WRITER = 25
#: Sentences of a generated document: from a part of a chunk to a dozen chunks.
SENTENCES_MAX = 200
#: Seconds that a client rests after a failed request, so that a dead server is not hammered.
REST_S = 0.05

_WORDS = (
    "lens prism mirror focus colour light order invoice parcel return refund warranty editor draft "
    "review release archive contract customer supplier workshop bench polish glass coating telescope "
    "camera tripod spectrum angle delivery signature holiday training safety laser archive catalogue"
).split()


class Client:
    """One thread of the load. `stale` lists answers that missed what the client itself had written."""

    def __init__(self, library: Library, seed: int, stopped: threading.Event) -> None:
        self.library = library
        self.random = random.Random(seed)
        self.stopped = stopped
        self.deeds: Counter = Counter()
        self.stale: list[str] = []
        self.trouble: BaseException | None = None

    def run(self) -> None:
        """Works until it is told to stop. Keeps an error of its own code in `trouble`."""
        try:
            while not self.stopped.is_set():
                try:
                    self.step()
                except RequestFailed:
                    self.stopped.wait(REST_S)
        except BaseException as error:
            # It ends this thread only; the load reports it and fails.
            self.trouble = error

    def step(self) -> None:
        """Does one thing."""
        raise NotImplementedError


class Writer(Client):
    """Adds, replaces, repeats and deletes generated files."""

    def __init__(self, library: Library, seed: int, stopped: threading.Event, folder: Path, number: int) -> None:
        super().__init__(library, seed, stopped)
        names = [f"writer-{number}/document-{at:03}.md" for at in range(DOCUMENTS_PER_WRITER)]
        self.files = [SourceFile(folder / name, name) for name in names]
        self.uncertain: set[str] = set()
        self.version = 0

    def step(self) -> None:
        """Changes one document, and reads it back."""
        file = self.random.choice(self.files)
        choice = self.random.random()
        if not file.path.exists() or choice < 0.65:
            self._write(file)
            self._change(file, "replaced", lambda: self.library.ingest(file))
        elif choice < 0.8:
            self._change(file, "repeated", lambda: self.library.ingest(file))
        else:
            self._change(file, "deleted", lambda: self._delete(file))

    def _write(self, file: SourceFile) -> None:
        self.version += 1
        count = self.random.randint(1, SENTENCES_MAX)
        sentences = [" ".join(self.random.choices(_WORDS, k=8)).capitalize() + "." for _ in range(count)]
        breaks = [self.random.choice((" ", " ", "\n\n")) for _ in sentences]
        body = "".join(s + b for s, b in zip(sentences, breaks))
        file.path.parent.mkdir(parents=True, exist_ok=True)
        draft = file.path.with_suffix(".draft")
        draft.write_text(f"# {file.name}, version {self.version}\n\n{body}\n", encoding="utf-8")
        os.replace(draft, file.path)

    def _delete(self, file: SourceFile) -> None:
        file.path.unlink()
        try:
            self.library.delete(file.document_id)
        except UnknownDocument:
            # Right only when an earlier write of it, or this delete's earlier sending, is unknown.
            if file.document_id not in self.uncertain:
                self.stale.append(f"{file.name}: acknowledged, and unknown when it was deleted")

    def _change(self, file: SourceFile, deed: str, act: Callable[[], object]) -> None:
        try:
            act()
        except RequestFailed:
            self.uncertain.add(file.document_id)
            raise
        self.uncertain.discard(file.document_id)
        self.deeds[deed] += 1
        self._read_back(file)

    def _read_back(self, file: SourceFile) -> None:
        pointer = self.library.pointer()
        found = self.library.pieces(self.library.collection(pointer.collection), {"document_id": file.document_id})
        held = [p.text for p in sorted(found, key=lambda p: p.metadata["position"])]
        wanted: list[str] = []
        if file.path.exists():
            wanted = [chunk.text for chunk in split(Reading(file).blocks(), pointer.chunk_chars)]
        if held != wanted:
            self.stale.append(f"{file.name}: read back {len(held)} chunks instead of {len(wanted)}, or others")


class Reader(Client):
    """Searches, lists, and opens what it has found."""

    def step(self) -> None:
        """Asks one question."""
        words = " ".join(self.random.choices(_WORDS, k=4))
        choice = self.random.random()
        if choice < 0.05:
            self.library.documents()
            self.deeds["listed"] += 1
            return
        hits = self.library.search(words)
        self.deeds["searched"] += 1
        if hits and choice < 0.3:
            self.library.search(words, document_id=hits[0].document_id)
            self.deeds["searched"] += 1
