"""Finds and reads the files of a folder; it changes nothing on disk.

A file is a document when it is regular, within the folder, UTF-8, and says something.
"""

from __future__ import annotations

import codecs
import hashlib
import os
import re
import stat
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cms.chunks import split
from cms.errors import CannotWork, RefusedFile

#: Endings of the files that are taken of a folder. A file that is named directly may have any.
SUFFIXES = (".md", ".markdown", ".txt", ".text")
#: Bytes that are read at a time.
BLOCK_BYTES = 64 * 1024
#: Digits of the digest in a document's id: 48 bits of the file's name.
ID_DIGITS = 12


@dataclass(frozen=True)
class SourceFile:
    """A file, and the name that the library knows it by: its path from the folder, with slashes."""

    path: Path
    name: str

    @property
    def document_id(self) -> str:
        """The id that follows from the name alone: readable words and a digest."""
        slug = re.sub(r"[^a-z0-9]+", "-", self.name.rsplit(".", 1)[0].lower()).strip("-")[:40]
        digest = hashlib.sha256(self.name.encode("utf-8")).hexdigest()[:ID_DIGITS]
        return f"{slug.strip('-')}-{digest}" if slug else digest


@dataclass(frozen=True)
class Survey:
    """What a first reading of a file tells: SHA-256 of its bytes (hex), and how many chunks it has."""

    digest: str
    count: int


def find(folder: Path) -> tuple[list[SourceFile], list[RefusedFile]]:
    """Returns the text files within a folder, by name, and what was refused; a file is itself.

    Hidden files and folders, and other endings, are passed over. Raises CannotWork when there is
    no such folder or file, or when it cannot be read.
    """
    if folder.is_file():
        return [SourceFile(folder, plain_name(folder.name))], []
    if not folder.is_dir():
        raise CannotWork(f"there is no folder or file {shown(str(folder))}")
    found: list[SourceFile] = []
    refused: list[RefusedFile] = []

    def fail(error: OSError) -> None:
        refused.append(RefusedFile(f"{shown(str(error.filename))}: {error.strerror}"))

    for parent, folders, names in os.walk(folder, onerror=fail):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(folders):
            if Path(parent, name).is_symlink():
                refused.append(_refusal(folder, Path(parent, name), "a link to a folder is not followed"))
        for name in names:
            if name.startswith(".") or not name.lower().endswith(SUFFIXES):
                continue
            try:
                found.append(_source(folder, Path(parent, name)))
            except RefusedFile as refusal:
                refused.append(refusal)
    return sorted(found, key=lambda file: file.name), refused


def _source(folder: Path, path: Path) -> SourceFile:
    if path.is_symlink():
        try:
            path.resolve(strict=True).relative_to(folder.resolve())
        except (OSError, ValueError, RuntimeError):
            raise _refusal(folder, path, "a link that leads out of the folder, or nowhere") from None
    name = path.relative_to(folder).as_posix()
    try:
        return SourceFile(path, plain_name(name))
    except RefusedFile:
        raise _refusal(folder, path, "its name is not UTF-8") from None


def plain_name(name: str) -> str:
    """Returns a name in Unicode's composed form, in which all systems spell it alike."""
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        raise RefusedFile(f"{shown(name)}: its name is not UTF-8") from None
    return unicodedata.normalize("NFC", name)


def _refusal(folder: Path, path: Path, why: str) -> RefusedFile:
    return RefusedFile(f"{shown(path.relative_to(folder).as_posix())}: {why}")


def shown(text: str) -> str:
    """Returns a name as one line for a terminal: control characters and lone bytes are escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)


class Reading:
    """One pass over a file. `digest` is that of what has been read so far."""

    def __init__(self, file: SourceFile) -> None:
        self._file = file
        self._hash = hashlib.sha256()

    def blocks(self) -> Iterator[str]:
        """Yields the text. Raises RefusedFile when it is not regular, not readable or not UTF-8."""
        decoder = codecs.getincrementaldecoder("utf-8-sig")()
        try:
            # Without O_NONBLOCK, opening a pipe would wait for a writer.
            handle = os.open(self._file.path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
            with os.fdopen(handle, "rb") as stream:
                if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                    raise self._refused("it is not a regular file")
                data: bytes | None = None
                while data != b"":
                    data = stream.read(BLOCK_BYTES)
                    self._hash.update(data)
                    text = decoder.decode(data, final=not data)
                    if "\0" in text:
                        raise self._refused("it holds NUL bytes, so it is not text")
                    if text:
                        yield text
        except UnicodeDecodeError as error:
            raise self._refused(f"it is not UTF-8 ({error.reason})") from None
        except OSError as error:
            raise self._refused(f"it cannot be read ({error.strerror})") from None

    @property
    def digest(self) -> str:
        """SHA-256 in hex of the bytes so far."""
        return self._hash.hexdigest()

    def _refused(self, why: str) -> RefusedFile:
        return RefusedFile(f"{shown(self._file.name)}: {why}")


def survey(file: SourceFile, chunk_chars: int) -> Survey:
    """Reads a file once. Raises RefusedFile when it is no document, such as an empty one."""
    reading = Reading(file)
    count, is_blank = 0, True
    for chunk in split(reading.blocks(), chunk_chars):
        count += 1
        is_blank = is_blank and not chunk.text.strip()
    if is_blank:
        raise RefusedFile(
            f"{shown(file.name)}: it is empty" if not count else f"{shown(file.name)}: it holds blanks only"
        )
    return Survey(reading.digest, count)
