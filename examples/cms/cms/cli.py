"""The command line: `cms COMMAND`, or `python -m cms COMMAND`."""

from __future__ import annotations

import argparse
import io
import os
import sys
from pathlib import Path
from typing import Callable

from cms import __version__, commands, output
from cms.chunks import CHUNK_CHARS, CHUNK_CHARS_MAX, CHUNK_CHARS_MIN
from cms.connection import DEFAULT_URL
from cms.errors import IMPOSSIBLE, TROUBLE, CmsError

_EPILOG = """\
Begin with:  cms ingest documents
             cms search how long may a customer return a lens
             cms shell

Exit codes: 0 done; 1 something was refused, unknown, failed or different; 2 wrong usage, no server.
CMS_URL, CMS_TOKEN_FILE, CMS_CA and CMS_LIBRARY stand for the options of these names."""


def parser() -> argparse.ArgumentParser:
    """Returns the parser of all commands; each sets `run`, which returns an exit code."""
    whole = argparse.ArgumentParser(
        prog="cms",
        description="Keeps a team's text files searchable in Chroma.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    whole.add_argument("--version", action="version", version=f"cms {__version__}")
    parts = whole.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def command(name: str, run: Callable[[argparse.Namespace], int], about: str) -> argparse.ArgumentParser:
        part = parts.add_parser(name, help=about, description=about, parents=[_everywhere()])
        part.set_defaults(run=run)
        return part

    command("status", commands.status, "Tell where the library is and how much it holds.")

    part = command("ingest", commands.ingest, "Add the files of a folder; replace those that have changed.")
    part.add_argument("folder", type=Path, help="a folder with .md and .txt files, or one file")
    part.add_argument(
        "--delete-missing", action="store_true", help="delete documents whose file is gone from the folder"
    )
    _making(part)

    part = command("search", commands.search, "Find the passages that are most similar to a text.")
    part.add_argument("text", nargs="+", help="what to search for")
    part.add_argument("--document", metavar="DOCUMENT", help="search this document only: its id or file name")
    part.add_argument("--hits", type=_whole(1, 1000), default=5, metavar="N", help="passages at most (default: 5)")

    part = command("open", commands.open_document, "Print a document as it is stored.")
    part.add_argument("document", metavar="DOCUMENT", help="its id or file name, as `cms list` shows them")

    part = command("replace", commands.replace, "Replace one document by a file.")
    part.add_argument("file", type=Path, help="the file with the new text")
    part.add_argument("--as", dest="name", metavar="NAME", help="the document's file name (default: the file's own)")

    part = command("delete", commands.delete, "Delete a document with all its chunks.")
    part.add_argument("document", metavar="DOCUMENT", help="its id or file name")

    command("list", commands.list_documents, "List all documents.")

    part = command("reindex", commands.reindex_library, "Build the library anew in another collection, then switch.")
    part.add_argument("--abandon", action="store_true", help="end a re-index whose process died")
    _making(part)

    part = command("verify", commands.verify_library, "Compare every chunk of every file with what is stored.")
    part.add_argument("folder", type=Path, help="the folder that was ingested")
    part.add_argument(
        "--instance", action="append", metavar="URL", help="compare this Chroma server's own copy as well"
    )
    part.add_argument(
        "--collection-id", action="append", metavar="UUID", help="the id that this server gave the collection"
    )
    part.add_argument(
        "--instances", action="store_true", help="compare every server's own copy, as Achromat names them"
    )
    part.add_argument(
        "--operator-token-file", type=Path, metavar="FILE", help="a token for Achromat's mappings, if it needs one"
    )
    part.add_argument(
        "--wait", type=_seconds, default=0.0, metavar="SECONDS", help="repeat while something differs (default: 0)"
    )

    part = command("load", commands.run_load, "Work on generated files with many clients, and verify the outcome.")
    part.add_argument(
        "--writers", type=_whole(0, 64), default=2, metavar="N", help="clients that change documents (default: 2)"
    )
    part.add_argument("--readers", type=_whole(0, 64), default=2, metavar="M", help="clients that search (default: 2)")
    part.add_argument(
        "--seconds", type=_seconds, default=30.0, metavar="S", help="for how long (default: 30); SIGINT ends it early"
    )
    part.add_argument(
        "--folder",
        type=Path,
        help="an empty folder for the files, which are kept then, with the library (default: neither is kept)",
    )
    part.add_argument("--seed", type=int, default=1, help="what the generated work follows from (default: 1)")
    part.add_argument(
        "--pause-while-refused",
        type=_seconds,
        default=0.0,
        metavar="SECONDS",
        help="repeat requests whose connection was refused or broke, for so long, and count them apart (default: 0)",
    )
    part.set_defaults(library="load")

    command("shell", commands.run_shell, "Work interactively.")
    return whole


def _everywhere() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    group = common.add_argument_group("where the library is")
    group.add_argument("--url", default=os.environ.get("CMS_URL", DEFAULT_URL), help=f"default: {DEFAULT_URL}")
    group.add_argument(
        "--library",
        type=_library,
        default=os.environ.get("CMS_LIBRARY", "cms"),
        help="its name (default: cms; of a load: load)",
    )
    group.add_argument(
        "--token-file", type=Path, default=_path("CMS_TOKEN_FILE"), metavar="FILE", help="a file with a client's token"
    )
    group.add_argument(
        "--ca",
        type=Path,
        default=_path("CMS_CA"),
        metavar="FILE",
        help="certificates of authorities to trust (PEM), for https",
    )
    group.add_argument("--json", action="store_true", help="print JSON, for machines")
    return common


def _making(part: argparse.ArgumentParser) -> None:
    part.add_argument(
        "--embedding",
        metavar="NAME",
        help="hash (of a new library; no download), default (Chroma's model), or a sentence-transformers model",
    )
    part.add_argument(
        "--chunk-chars",
        type=_whole(CHUNK_CHARS_MIN, CHUNK_CHARS_MAX),
        metavar="N",
        help=f"characters of a chunk (of a new library: {CHUNK_CHARS})",
    )


def _path(variable: str) -> Path | None:
    value = os.environ.get(variable)
    return Path(value) if value else None


def _whole(least: int, most: int) -> Callable[[str], int]:
    def read(word: str) -> int:
        if not word.isdigit() or not least <= int(word) <= most:
            raise argparse.ArgumentTypeError(f"{word!r} is no whole number from {least} to {most}")
        return int(word)

    return read


def _seconds(word: str) -> float:
    try:
        seconds = float(word)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < 1e9:
        raise argparse.ArgumentTypeError(f"{word!r} is no number of seconds")
    return seconds


def _library(word: str) -> str:
    is_plain = word.replace("-", "").replace("_", "").isalnum() and word.isascii()
    if not is_plain or not 3 <= len(word) <= 50 or not (word[0] + word[-1]).isalnum():
        raise argparse.ArgumentTypeError(f"{word!r} is no name of 3 to 50 letters, digits, - and _")
    return word


def main(words: list[str] | None = None) -> int:
    """Runs a command and returns its exit code; errors are told in one line."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal without UTF-8 shows `?` for what it lacks.
            stream.reconfigure(errors="replace")
    chosen = parser().parse_args(words)
    return guarded(lambda: int(chosen.run(chosen)))


def guarded(act: Callable[[], int]) -> int:
    """Runs something, and turns expected trouble into a line on standard error and an exit code."""
    try:
        return act()
    except CmsError as error:
        output.complain(str(error))
        return error.exit_code
    except KeyboardInterrupt:
        output.complain("ended by you")
        return TROUBLE
    except BrokenPipeError:
        # Whoever reads, such as `head`, has enough; Python would complain of it again at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return TROUBLE
    except OSError as error:
        output.complain(f"{error.filename or 'the system'}: {error.strerror or error}")
        return IMPOSSIBLE
