"""Lines for people, and JSON for machines; names and texts never control the terminal."""

from __future__ import annotations

import json
import re
import sys
import textwrap
from collections.abc import Sequence
from typing import Any

from cms.embedding import HashEmbedding
from cms.files import shown
from cms.records import Document, Hit
from cms.verify import Comparison

#: Characters of a hit's text that are shown.
SNIPPET_CHARS = 220


def say(line: str = "") -> None:
    """Prints a line."""
    print(line, flush=True)


def complain(line: str) -> None:
    """Prints a line on standard error."""
    print(f"cms: {line}", file=sys.stderr, flush=True)


def say_json(value: Any) -> None:
    """Prints a value as one line of JSON."""
    say(json.dumps(value, ensure_ascii=False))


def page(text: str) -> str:
    """Returns a text for a terminal: its lines stay, other control characters are escaped."""
    return "\n".join(shown(line.replace("\t", "    ")) for line in text.splitlines())


def say_documents(documents: Sequence[Document]) -> None:
    """Prints a table of documents."""
    if not documents:
        say("no documents")
        return
    width = max(len(shown(d.file)) for d in documents)
    for document in documents:
        say(f"{shown(document.file):<{width}}  {counted(document.count, 'chunk'):>10}  {document.document_id}")


def counted(count: int, noun: str) -> str:
    """Returns `1 chunk`, `2 chunks`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def snippet(text: str, sought: str) -> str:
    """Returns the sentence of a chunk that is most like what was sought, and what follows it."""
    sentences = [s for s in re.split(r"(?<=[.!?…])\s+|\n\s*\n", text) if s.strip()] or [text]
    vectors = HashEmbedding()([sought, *sentences])
    best = int((vectors[1:] @ vectors[0]).argmax())
    rest = shown(" ".join(" ".join(sentences[best:]).split()))
    return ("… " if best else "") + textwrap.shorten(rest, SNIPPET_CHARS, placeholder=" …")


def say_hits(hits: Sequence[Hit], sought: str) -> None:
    """Prints what a search found, numbered from 1."""
    if not hits:
        say("nothing found")
    for number, hit in enumerate(hits, 1):
        say(f"{number}. {shown(hit.file)}, chunk {hit.position}  (similarity {hit.score:.2f})")
        say(textwrap.indent(textwrap.fill(snippet(hit.text, sought), 90), "   "))


def say_comparisons(comparisons: Sequence[Comparison]) -> None:
    """Prints what was compared, and each difference that was kept."""
    for comparison in comparisons:
        for difference in comparison.differences:
            say(str(difference))
        say(
            f"{comparison.source}: {comparison.documents} documents, {comparison.chunks} chunks, "
            f"{comparison.differing} differences"
        )


def say_load(report: dict[str, Any]) -> None:
    """Prints the report of a load."""
    say(
        f"{report['requests']} requests in {report['seconds']} s ({report['per_second']} per second), "
        f"{report['failed']} failed, {report['refused']} refused and {report['interrupted']} interrupted"
    )
    for kind, summary in report["latency_ms"].items():
        figures = "  ".join(f"{name} {value:>7}" for name, value in summary.items() if name != "count")
        say(f"  {kind:<10} {summary['count']:>7}  {figures} ms")
    if report["vanished_hits"]:
        say(f"{report['vanished_hits']} hits were deleted while the server answered")
    lines: list[str] = [f"failed: {f['kind']} after {f['took_s']} s: {f['error']}" for f in report["failures"]]
    lines += [f"stale: {line}" for line in report["stale"]]
    lines += [f"uncertain: {document}" for document in report["uncertain"]]
    for line in lines:
        say(shown(line))
    if report["unfinished"]:
        say(f"{report['unfinished']} clients never got their last answer")
    verified = report["verified"]
    say(
        f"verified: {verified['documents']} documents, {verified['chunks']} chunks, {verified['differing']} differences"
    )
