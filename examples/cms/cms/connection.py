"""Opens the official client, with a token and a certificate authority where they are given."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, TypeVar
from urllib.parse import urlsplit

from cms.errors import CannotWork, explain

if TYPE_CHECKING:
    from chromadb.api import ClientAPI

#: Where `achromat dev` and `achromat serve` listen by default.
DEFAULT_URL = "http://127.0.0.1:8000"

Result = TypeVar("Result")


@dataclass(frozen=True)
class Server:
    """An address, and what it takes to be let in: a file with a token, a file of authorities (PEM)."""

    url: str = DEFAULT_URL
    token_file: Path | None = None
    ca: Path | None = None

    def headers(self) -> dict[str, str]:
        """Returns the headers of every request. Raises CannotWork when the token cannot be read."""
        if self.token_file is None:
            return {}
        try:
            token = self.token_file.read_text(encoding="ascii").strip()
        except OSError as error:
            raise CannotWork(f"the token file {self.token_file} cannot be read: {error.strerror}") from None
        except UnicodeDecodeError:
            token = ""
        if not token or not token.isprintable() or " " in token:
            raise CannotWork(f"the token file {self.token_file} does not hold one token")
        return {"Authorization": f"Bearer {token}"}

    def connect(self) -> ClientAPI:
        """Returns a client with connections of its own. Raises CannotWork or ServerRefused."""
        parts = urlsplit(self.url)
        try:
            port = parts.port
        except ValueError:
            port = -1
        if parts.scheme not in ("http", "https") or not parts.hostname or port == -1 or parts.path.strip("/"):
            raise CannotWork(f"{self.url!r} is no address; write it like {DEFAULT_URL}")
        if self.ca is not None and not self.ca.is_file():
            raise CannotWork(f"there is no file {self.ca} with certificates")
        headers = self.headers()
        import chromadb
        from chromadb.config import Settings

        # The client logs each request that fails; the caller says it once.
        logging.getLogger("httpx").setLevel(logging.WARNING)
        is_tls = parts.scheme == "https"
        try:
            return chromadb.HttpClient(
                host=parts.hostname,
                port=port or (443 if is_tls else 80),
                ssl=is_tls,
                headers=headers,
                settings=Settings(
                    anonymized_telemetry=False, chroma_server_ssl_verify=str(self.ca) if self.ca else None
                ),
            )
        except Exception as error:
            # The client raises a plain ValueError for most trouble; its cause tells which it was.
            raise explain(error, self.url) from error


class Requests:
    """Sends requests one at a time, and turns errors of the client into the CMS's own."""

    def __init__(self, url: str) -> None:
        self.url = url

    def call(self, kind: str, act: Callable[[], Result]) -> Result:
        """Carries out one request. `kind` names it for those who count: `upsert`, `get` and so on."""
        try:
            return act()
        except Exception as error:
            # The client raises bare `Exception` for bodies that it does not know.
            if is_programming_error(error):
                raise
            raise explain(error, self.url) from error


def is_programming_error(error: BaseException) -> bool:
    """Tells whether an error comes of wrong code here, and not of a request."""
    wrong: Any = (TypeError, AttributeError, NameError, KeyError, IndexError, AssertionError)
    return isinstance(error, wrong)
