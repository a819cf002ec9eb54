"""Documents through the command line, against a real Chroma server."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Callable

import pytest

from cms.connection import Server
from cms.library import Library


def documents(cms: Callable) -> dict:
    """Returns the documents by file name."""
    return {d["file"]: d for d in json.loads(cms("list", "--json").out)}


def test_an_ingest_is_found_listed_and_opened(cms: Callable, folder: Path) -> None:
    """What was ingested is found by similar words, listed, and opened word for word."""
    assert cms("ingest", folder).code == 0
    assert set(documents(cms)) == {"glass.md", "holidays.txt"}
    hits = json.loads(cms("search", "achromats of flint glass", "--json").out)
    assert hits[0]["file"] == "glass.md" and hits[0]["score"] > hits[1]["score"]
    assert cms("open", "glass.md").out == (folder / "glass.md").read_text(encoding="utf-8")


def test_a_repeated_ingest_changes_nothing(cms: Callable, folder: Path, url: str, library: str) -> None:
    """Only changed files are replaced; records of the others are not written again."""
    cms("ingest", folder)
    (folder / "glass.md").write_text("Another text.\n", encoding="utf-8")
    told = json.loads(cms("ingest", folder, "--json").out)
    assert (told["new"], told["changed"], told["unchanged"]) == (0, 1, 1)
    assert cms("ingest", folder).out.startswith("0 new, 0 changed, 2 unchanged")
    held = Library(Server(url), library)
    assert {p.text for p in held.pieces(held.collection(held.pointer().collection), None)} == {
        "Another text.\n",
        "Thirty days of holiday in a year.\n",
    }


def test_a_shorter_file_leaves_no_old_chunks(cms: Callable, folder: Path) -> None:
    """A replacement deletes what the old file had more."""
    long = "\n\n".join(f"Paragraph {number} of a long document." for number in range(400))
    (folder / "glass.md").write_text(long, encoding="utf-8")
    cms("ingest", folder)
    assert documents(cms)["glass.md"]["count"] > 20
    (folder / "glass.md").write_text("Short.\n", encoding="utf-8")
    assert cms("replace", folder / "glass.md").code == 0
    assert cms("open", "glass.md").out == "Short.\n"
    assert cms("verify", folder).code == 0


def test_a_broken_replacement_is_mended(cms: Callable, folder: Path, url: str, library: str) -> None:
    """An ingest that was cut off midway is noticed by verify, and repaired by the next ingest."""
    (folder / "glass.md").write_text("\n\n".join(f"Part {n} of the text." for n in range(400)), encoding="utf-8")
    cms("ingest", folder)
    held = Library(Server(url), library)
    collection = held.collection(held.pointer().collection)
    lost = [p.id for p in held.pieces(collection, {"file": "glass.md"})][3:6]
    collection.delete(ids=lost)
    broken = cms("verify", folder)
    assert broken.code == 1 and broken.out.count("missing") == 3
    assert "1 changed, 1 unchanged" in cms("ingest", folder).out
    assert cms("verify", folder).code == 0


def test_a_deleted_document_is_gone(cms: Callable, folder: Path) -> None:
    """A delete takes all chunks of one document and none of another; a second one says so."""
    cms("ingest", folder)
    assert cms("delete", "glass.md").code == 0
    assert set(documents(cms)) == {"holidays.txt"}
    again = cms("delete", "glass.md")
    assert again.code == 1 and "there is no document glass.md" in again.err


def test_missing_files_are_deleted_when_asked(cms: Callable, folder: Path) -> None:
    """`--delete-missing` deletes what is gone from the folder, and nothing when a file was refused."""
    cms("ingest", folder)
    (folder / "glass.md").unlink()
    (folder / "bad.md").write_bytes(b"\xff\xfe")
    assert cms("ingest", folder, "--delete-missing").code == 1
    assert "glass.md" in documents(cms)
    (folder / "bad.md").unlink()
    assert cms("ingest", folder, "--delete-missing").code == 0
    assert set(documents(cms)) == {"holidays.txt"}


def test_a_search_stays_in_its_document(cms: Callable, folder: Path) -> None:
    """With `--document`, only this document's chunks are found, however well others fit."""
    cms("ingest", folder)
    hits = json.loads(cms("search", "crown glass", "--document", "holidays.txt", "--json").out)
    assert [hit["file"] for hit in hits] == ["holidays.txt"]


def test_odd_files_are_refused_in_one_line(cms: Callable, folder: Path) -> None:
    """Empty, blank, binary, not UTF-8, linked outwards, a pipe: each is named, the rest is ingested."""
    outside = folder.parent / "secret.md"
    outside.write_text("secret", encoding="utf-8")
    (folder / "empty.md").touch()
    (folder / "blank.md").write_text(" \n\t\n", encoding="utf-8")
    (folder / "latin.md").write_bytes("Größe".encode("latin-1"))
    (folder / "binary.txt").write_bytes(b"text\0text")
    (folder / "link.md").symlink_to(outside)
    (folder / "linked").symlink_to(folder.parent)
    os.mkfifo(folder / "pipe.md")
    told = cms("ingest", folder)
    assert told.code == 1 and told.out.endswith("2 new, 0 changed, 0 unchanged, 7 refused\n")
    for name in ("empty.md", "blank.md", "latin.md", "binary.txt", "link.md", "linked", "pipe.md"):
        assert name in told.err
    assert set(documents(cms)) == {"glass.md", "holidays.txt"}


def test_odd_names_and_equal_texts_are_documents(cms: Callable, folder: Path) -> None:
    """Spaces, line ends, quotes and other scripts in names are kept; equal texts stay two documents."""
    names = ["two words.md", "two\nlines.md", "光 'quoted\".txt", "MIXED.MD"]
    for name in names:
        (folder / name).write_text("The same text.\n", encoding="utf-8")
    assert cms("ingest", folder).code == 0
    assert set(documents(cms)) == {*names, "glass.md", "holidays.txt"}
    assert "two\\nlines.md" in cms("list").out
    assert cms("delete", "two\nlines.md").code == 0
    assert cms("open", "two words.md").out == "The same text.\n"


def test_a_huge_file_goes_in_batches(cms: Callable, folder: Path) -> None:
    """A file of megabytes is written in many requests, and comes back whole."""
    text = "".join(f"Line {number} of a huge file, in which every line differs.\n" for number in range(40_000))
    (folder / "huge.txt").write_text(text, encoding="utf-8")
    assert cms("ingest", folder / "huge.txt", "--chunk-chars", "4000").code == 0
    assert documents(cms)["huge.txt"]["count"] > 500
    assert cms("open", "huge.txt").out == text


@pytest.mark.parametrize("size", [100, 3000])
def test_a_reindex_keeps_every_text(cms: Callable, folder: Path, size: int) -> None:
    """A re-index with other chunks switches to a new collection, keeps all texts and drops the old one."""
    (folder / "long.md").write_text("\n\n".join(f"Paragraph {n}." for n in range(900)), encoding="utf-8")
    cms("ingest", folder)
    before = json.loads(cms("status", "--json").out)
    assert cms("reindex", "--chunk-chars", size).code == 0
    after = json.loads(cms("status", "--json").out)
    assert after["collection"] != before["collection"] and after["chunk_chars"] == size
    assert cms("verify", folder).code == 0
    assert "3 unchanged" in cms("ingest", folder).out


def test_nothing_is_changed_during_a_reindex(cms: Callable, folder: Path, url: str, library: str) -> None:
    """While a re-index is under way changes are refused and searches work; one that died is abandoned."""
    from dataclasses import replace

    cms("ingest", folder)
    held = Library(Server(url), library)
    held.settings.write(replace(held.pointer(), reindexing=f"{library}-2"))
    held.make(f"{library}-2")
    for words in (("ingest", folder), ("delete", "glass.md"), ("reindex",)):
        refused = cms(*words)
        assert refused.code == 1 and "being re-indexed" in refused.err
    assert cms("search", "glass").code == 0
    assert cms("reindex", "--abandon").code == 0
    assert cms("delete", "glass.md").code == 0
