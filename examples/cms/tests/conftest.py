"""A real Chroma server for all tests of a run, and the command line as a user types it."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Callable, NamedTuple

import pytest

EXAMPLE = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(EXAMPLE))

#: Seconds for a server to listen.
START_S = 60.0


class Outcome(NamedTuple):
    """What a command has done."""

    code: int
    out: str
    err: str


@pytest.fixture(scope="session")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a server that ends with the tests; CMS_TEST_URL names one that runs already."""
    if os.environ.get("CMS_TEST_URL"):
        yield os.environ["CMS_TEST_URL"]
        return
    beside = Path(sys.executable).with_name("chroma")
    program = str(beside) if beside.exists() else shutil.which("chroma")
    assert program, "the chromadb package brings the program `chroma`"
    folder = tmp_path_factory.mktemp("chroma")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = [program, "run", "--path", str(folder), "--host", "127.0.0.1", "--port", str(port)]
    with open(folder / "log.txt", "wb") as log:
        server = subprocess.Popen(words, stdout=log, stderr=log)
    try:
        end = time.monotonic() + START_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                assert server.poll() is None and time.monotonic() < end, (folder / "log.txt").read_text()
                time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.kill()
        server.wait()


@pytest.fixture
def library() -> str:
    """The name of a library that nobody else uses."""
    return f"test-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def process(url: str, library: str) -> Callable[..., Outcome]:
    """Runs `python -m cms` in a process of its own, on this test's library."""

    def run(*words: object, typed: str = "") -> Outcome:
        command: list[str] = [sys.executable, "-m", "cms", *map(str, words)]
        environment = {**os.environ, "CMS_URL": url, "CMS_LIBRARY": library}
        done = subprocess.run(
            command, cwd=EXAMPLE, env=environment, input=typed.encode(), capture_output=True, timeout=300
        )
        out, err = done.stdout.decode(), done.stderr.decode()
        assert "Traceback" not in err, err
        return Outcome(done.returncode, out, err)

    return run


@pytest.fixture
def cms(url: str, library: str, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Outcome]:
    """Runs a command within this process, which is faster; an unexpected error fails the test."""
    from cms.cli import main

    def run(*words: object, at: str = "") -> Outcome:
        monkeypatch.setenv("CMS_URL", at or url)
        monkeypatch.setenv("CMS_LIBRARY", library)
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                code = main([str(word) for word in words])
            except SystemExit as end:
                # The parser ends the program after its help, and after wrong words.
                code = int(end.code or 0)
        return Outcome(code, out.getvalue(), err.getvalue())

    return run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with two small documents."""
    made = tmp_path / "documents"
    made.mkdir()
    (made / "glass.md").write_text("# Glass\n\nCrown glass and flint glass make an achromat.\n", encoding="utf-8")
    (made / "holidays.txt").write_text("Thirty days of holiday in a year.\n", encoding="utf-8")
    return made
