"""What each command does; each returns an exit code. `cli` reads the words, `shell` asks for them."""

from __future__ import annotations

import argparse
import dataclasses
import json
import shutil
import signal
import sys
import tempfile
import threading
from functools import lru_cache
from pathlib import Path
from typing import Any

from cms import load, output, reindex, verify
from cms.connection import Server
from cms.errors import DONE, TROUBLE, CannotWork, CmsError, RefusedFile
from cms.files import SourceFile, find, plain_name, shown
from cms.library import Library
from cms.sources import Instance, Source, ThroughAddress, ask, instances_of, wait_nothing_owed

#: Seconds that a comparison of the servers' own copies waits for writes that are on their way.
OWED_WAIT_S = 10.0


def server_of(words: argparse.Namespace) -> Server:
    """Returns the server that the options name."""
    return Server(words.url, words.token_file, words.ca)


def library_of(words: argparse.Namespace) -> Library:
    """Connects to the library that the options name, once in a process: a shell keeps its connections."""
    return _connected(server_of(words), words.library)


@lru_cache(maxsize=1)
def _connected(server: Server, name: str) -> Library:
    return Library(server, name)


def status(words: argparse.Namespace) -> int:
    """Tells where the library is, how much it holds, and how Achromat's servers are."""
    library = library_of(words)
    pointer = library.settings.read()
    about: dict[str, Any] = {"url": words.url, "library": words.library, "documents": 0, "chunks": 0}
    if pointer is not None:
        collection = library.collection(pointer.collection)
        about.update(dataclasses.asdict(pointer), documents=len(library.documents()))
        about["chunks"] = library.requests.call("count", collection.count)
    try:
        servers = ask(server_of(words), "/status")["instances"]
        about["servers"] = {s["name"]: s["state"] for s in servers}
    except (CmsError, KeyError, TypeError):
        # A plain Chroma server, or an Achromat that tells operators only.
        about["servers"] = {}
    if words.json:
        output.say_json(about)
        return DONE
    output.say(f"{words.library} on {words.url}: {about['documents']} documents, {about['chunks']} chunks")
    if pointer is not None:
        output.say(
            f"collection {pointer.collection}, embedding {pointer.embedding}, {pointer.chunk_chars} characters a chunk"
        )
        if pointer.reindexing:
            output.say(f"being re-indexed into {pointer.reindexing}")
    for name, state in about["servers"].items():
        output.say(f"server {name}: {state}")
    return DONE


def ingest(words: argparse.Namespace) -> int:
    """Adds and replaces the files of a folder, or one file."""
    files, refused = find(words.folder)
    library = library_of(words)
    library.prepare(words.embedding, words.chunk_chars)
    counts = {"new": 0, "changed": 0, "unchanged": 0, "deleted": 0}
    for file in files:
        try:
            outcome = library.ingest(file)
        except RefusedFile as error:
            refused.append(error)
            continue
        counts[outcome] += 1
        if outcome != "unchanged" and not words.json:
            output.say(f"{outcome:<9} {shown(file.name)}")
    if words.delete_missing and words.folder.is_dir() and not refused:
        gone = _delete_missing(library, files)
        counts["deleted"] = len(gone)
        for name in gone if not words.json else ():
            output.say(f"deleted   {shown(name)}")
    for refusal in refused:
        output.complain(f"refused {refusal}")
    if words.delete_missing and refused:
        output.complain("nothing was deleted, because of what was refused")
    if words.json:
        output.say_json({**counts, "refused": [str(refusal) for refusal in refused]})
    else:
        told = ", ".join(f"{count} {outcome}" for outcome, count in counts.items() if count or outcome != "deleted")
        output.say(f"{told}, {len(refused)} refused")
    return TROUBLE if refused else DONE


def _delete_missing(library: Library, files: list[SourceFile]) -> list[str]:
    kept = {file.document_id for file in files}
    gone = [document for document in library.documents() if document.document_id not in kept]
    for document in gone:
        library.delete(document.document_id)
    return [document.file for document in gone]


def replace(words: argparse.Namespace) -> int:
    """Replaces a document that is there by a file."""
    file = SourceFile(words.file, plain_name(words.name or words.file.name))
    outcome = library_of(words).ingest(file, must_be_known=True)
    output.say(f"{outcome} {shown(file.name)}")
    return DONE


def search(words: argparse.Namespace) -> int:
    """Prints the chunks that are most similar to a text."""
    text = " ".join(words.text).strip()
    if not text:
        raise CannotWork("say what to search for")
    library = library_of(words)
    document = library.find(words.document).document_id if words.document else None
    hits = library.search(text, words.hits, document)
    if words.json:
        output.say_json([dataclasses.asdict(hit) for hit in hits])
    else:
        output.say_hits(hits, text)
    return DONE


def open_document(words: argparse.Namespace) -> int:
    """Prints a document's text as it is stored."""
    library = library_of(words)
    pieces = library.open(library.find(words.document).document_id)
    text = "".join(piece.text for piece in pieces)
    if sys.stdout.isatty():
        output.say(output.page(text))
    else:
        sys.stdout.write(text)
        sys.stdout.flush()
    return DONE


def delete(words: argparse.Namespace) -> int:
    """Deletes a document by its id or file name."""
    library = library_of(words)
    document = library.find(words.document)
    library.delete(document.document_id)
    output.say(f"deleted {shown(document.file)}, {output.counted(document.count, 'chunk')}")
    return DONE


def list_documents(words: argparse.Namespace) -> int:
    """Prints all documents."""
    library = library_of(words)
    documents = library.documents() if library.settings.read() else []
    if words.json:
        output.say_json([dataclasses.asdict(document) for document in documents])
    else:
        output.say_documents(documents)
    return DONE


def reindex_library(words: argparse.Namespace) -> int:
    """Builds the library anew in another collection, and switches to it."""
    library = library_of(words)
    if words.abandon:
        name = reindex.abandon(library)
        output.say(f"{name} is deleted" if name else "no re-index is under way")
        return DONE
    made = reindex.reindex(library, words.embedding, words.chunk_chars)
    output.say(f"{made.documents} documents, {made.chunks} chunks are in {made.new} now; {made.old} is deleted")
    return DONE


def verify_library(words: argparse.Namespace) -> int:
    """Compares a folder with the library, and with each server's own copy."""
    urls, ids = words.instance or [], words.collection_id or []
    if len(urls) != len(ids):
        raise CannotWork("each --instance URL needs a --collection-id UUID behind it")
    files, refused = find(words.folder)
    library = library_of(words)
    pointer = library.pointer()
    sources: list[Source] = [ThroughAddress(words.url, library, library.collection(pointer.collection))]
    sources += [Instance(url, url, identity, words.ca) for url, identity in zip(urls, ids)]
    if words.instances:
        achromat = dataclasses.replace(server_of(words), token_file=words.operator_token_file or words.token_file)
        owed = wait_nothing_owed(achromat, max(words.wait, OWED_WAIT_S))
        if owed:
            output.complain(f"{owed} writes have not reached every server yet")
        sources += instances_of(achromat, pointer.collection)
    results = [
        verify.compare_until_equal(lambda: verify.compare(files, pointer, source), words.wait) for source in sources
    ]
    for refusal in refused:
        output.complain(f"not compared: {refusal}")
    if words.json:
        output.say_json(verify.as_json(results))
    else:
        output.say_comparisons(results)
    return TROUBLE if refused or any(result.differing for result in results) else DONE


def run_load(words: argparse.Namespace) -> int:
    """Runs a load until its time is over, or until SIGINT or SIGTERM."""
    folder = words.folder or Path(tempfile.mkdtemp(prefix="cms-load-"))
    plan = load.Plan(words.writers, words.readers, words.seconds, folder, words.seed, words.pause_while_refused)
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())

    def tell(figures: dict[str, object]) -> None:
        line = json.dumps(figures) if words.json else ", ".join(f"{v} {k}" for k, v in figures.items())
        print(line, file=sys.stderr, flush=True)

    report = load.run(server_of(words), words.library, plan, stopped, tell)
    is_kept = words.folder is not None or not report["ok"]
    if not is_kept:
        library_of(words).remove()
        shutil.rmtree(folder)
    if words.json:
        output.say_json(report)
        return DONE if report["ok"] else TROUBLE
    output.say_load(report)
    if is_kept:
        output.say(f"the files are in {folder}; `cms verify --library {words.library} {folder}` compares them again")
    return DONE if report["ok"] else TROUBLE


def run_shell(words: argparse.Namespace) -> int:
    """Starts the interactive mode."""
    from cms.shell import Shell

    Shell(words).cmdloop_until_end()
    return DONE
