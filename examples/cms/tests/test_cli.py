"""What a person meets: help, errors and the shell."""

from __future__ import annotations

from pathlib import Path
from typing import Callable

import pytest

COMMANDS = ["status", "ingest", "search", "open", "replace", "delete", "list", "reindex", "verify", "load", "shell"]


def test_help_names_every_command(cms: Callable) -> None:
    """`--help` lists the commands and exit codes, and each command explains its own options."""
    told = cms("--help")
    assert told.code == 0 and "Exit codes" in told.out
    for command in COMMANDS:
        assert command in told.out
        assert "--url" in cms(command, "--help").out


def test_it_runs_as_a_program(process: Callable) -> None:
    """`python -m cms` works as it stands, and its exit code is the command's."""
    assert process("status").code == 0
    assert process("open", "nothing").code == 1


@pytest.mark.parametrize(
    "words",
    [
        ("search",),
        ("bogus",),
        ("load", "--writers", "many"),
        ("list", "--library", "no good"),
        ("list", "--url", "127.0.0.1:8000"),
        ("list", "--url", "http://127.0.0.1:99999"),
        ("list", "--token-file", "/nonexistent/token"),
        ("list", "--ca", "/nonexistent/ca.pem"),
        ("ingest", "/nonexistent"),
        ("verify", ".", "--instance", "http://127.0.0.1:1"),
    ],
)
def test_wrong_usage_is_exit_code_2(cms: Callable, words: tuple) -> None:
    """Wrong words are explained, and nothing is attempted."""
    told = cms(*words)
    assert told.code == 2 and told.err


def test_an_unreachable_server_is_exit_code_2(cms: Callable) -> None:
    """Nobody listens: one line says where, and what to look at."""
    told = cms("status", at="http://127.0.0.1:1")
    assert told.code == 2 and len(told.err.splitlines()) == 1
    assert "cannot reach http://127.0.0.1:1" in told.err


def test_an_empty_library_says_how_to_begin(cms: Callable) -> None:
    """A search before the first ingest names the command to begin with; a list is simply empty."""
    told = cms("search", "anything")
    assert told.code == 1 and "cms ingest" in told.err
    assert cms("list").out == "no documents\n"
    assert cms("status").code == 0


def test_an_unknown_document_names_its_neighbours(cms: Callable, folder: Path) -> None:
    """A typing error is answered with what was probably meant."""
    cms("ingest", folder)
    told = cms("open", "glas.md")
    assert told.code == 1 and "did you mean glass.md" in told.err
    assert cms("replace", folder / "glass.md", "--as", "glas.md").code == 1


def test_other_settings_need_a_reindex(cms: Callable, folder: Path) -> None:
    """A library keeps its embedding and chunk size; another wish is refused and says what changes it."""
    cms("ingest", folder)
    told = cms("ingest", folder, "--chunk-chars", 100)
    assert told.code == 2 and "cms reindex" in told.err


def test_a_missing_model_changes_nothing(cms: Callable, folder: Path) -> None:
    """An embedding that cannot be loaded is told of before anything is made."""
    told = cms("ingest", folder, "--embedding", "no-such/model")
    assert told.code == 2 and "'no-such/model'" in told.err
    assert cms("list").out == "no documents\n"
    assert cms("ingest", folder).code == 0
    assert cms("reindex", "--embedding", "no-such/model").code == 2
    assert cms("verify", folder).code == 0


def test_the_shell_goes_on_after_errors(process: Callable, folder: Path) -> None:
    """A session searches, ingests, meets errors and goes on until `quit`."""
    lines = [f'ingest "{folder}"', "list", "don't know", "open nothing", 'open "glass.md', "delete", "help", "quit"]
    told = process("shell", typed="\n".join(lines))
    assert told.code == 0
    assert "2 new" in told.out and "glass.md" in told.out and "search TEXT" in told.out
    assert "there is no document nothing" in told.err and "quotes" in told.err


def test_the_shell_ends_with_its_input(process: Callable) -> None:
    """Ctrl-D ends it like `quit`."""
    assert process("shell", typed="list").code == 0


def test_a_token_is_sent(cms: Callable, tmp_path: Path) -> None:
    """A token file's word goes into every request as `Authorization: Bearer`, and is told nowhere."""
    from cms.connection import Server

    file = tmp_path / "token"
    file.write_text("achromat-abc123\n", encoding="ascii")
    assert Server(token_file=file).headers() == {"Authorization": "Bearer achromat-abc123"}
    told = cms("status", "--token-file", file)
    assert told.code == 0 and "abc123" not in told.out + told.err
