"""Expected trouble, in words that a person can act on; the command line never shows a traceback for it."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator

#: Exit codes: done; done, but something was refused, unknown or different; could not be done at all.
DONE, TROUBLE, IMPOSSIBLE = 0, 1, 2


class CmsError(Exception):
    """Trouble with one document or one answer. Exit code 1."""

    exit_code = TROUBLE


class UnknownDocument(CmsError):
    """No document has this id or file name."""


class RefusedFile(CmsError):
    """A file that cannot be a document: empty, not UTF-8, outside the folder, and so on."""


class LibraryBusy(CmsError):
    """A re-index is under way, so nothing may be changed."""


class ServerRefused(CmsError):
    """The server answered with an error. `status` is the HTTP status, or None when it is unknown."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class CannotWork(CmsError):
    """Wrong usage, an unreachable server, or a missing permission. Exit code 2."""

    exit_code = IMPOSSIBLE


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yields an error and everything that it was raised from, the outermost first."""
    seen = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def is_refused_connection(error: BaseException) -> bool:
    """Tells whether nobody listened at the address, so that the request was certainly not sent."""
    import httpx

    return any(
        isinstance(cause, ConnectionRefusedError)
        or (isinstance(cause, httpx.ConnectError) and "refused" in str(cause).lower())
        for cause in causes(error)
    )


def is_broken_connection(error: BaseException) -> bool:
    """Tells whether the connection ended before an answer: the request may have been carried out."""
    import httpx

    broken = (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError, httpx.CloseError, ConnectionError)
    return any(isinstance(cause, broken) for cause in causes(error))


def status_of(error: BaseException) -> int | None:
    """Returns the HTTP status behind an error of the client, or None when there is none."""
    import httpx
    from chromadb.errors import ChromaError

    for cause in causes(error):
        if isinstance(cause, httpx.HTTPStatusError):
            return cause.response.status_code
        if isinstance(cause, ChromaError):
            return cause.code()
    return None


def message_of(error: BaseException) -> str:
    """Returns what an error says; of a body `{"error", "message"}` or of a problem (RFC 9457) the message alone."""
    text = str(error).strip() or type(error).__name__
    body = text.rsplit(" (trace ID:", 1)[0]
    try:
        said = json.loads(body)
    except ValueError:
        return text
    return str(said.get("message") or said.get("detail") or text) if isinstance(said, dict) else text


def explain(error: BaseException, url: str) -> CmsError:
    """Turns an error of the client, or of the network, into one of this module."""
    import httpx

    if isinstance(error, CmsError):
        return error
    if any(isinstance(cause, httpx.ConnectError) for cause in causes(error)):
        why = next(str(c) for c in causes(error) if isinstance(c, httpx.ConnectError))
        hint = "is Achromat running there?" if is_refused_connection(error) else "check --url and --ca"
        return CannotWork(f"cannot reach {url}: {why}; {hint}")
    if any(isinstance(cause, (httpx.TransportError, socket.timeout)) for cause in causes(error)):
        return CannotWork(f"the connection to {url} broke: {message_of(error)}")
    status, message = status_of(error), message_of(error)
    if status in (401, 403):
        # The client does not keep which of the two it was.
        return ServerRefused(f"{url} does not allow it: {message}; does --token-file grant it?", status)
    if status == 503:
        return ServerRefused(f"{url} cannot serve it now (503): {message}; repeat it later", status)
    return ServerRefused(f"{url} refused it ({status or 'no status'}): {message}", status)
