"""The interactive mode: one command a line, as on the command line, until `quit`."""

from __future__ import annotations

import argparse
import cmd
import shlex

from cms import output
from cms.cli import guarded, parser

#: What the shell takes; a load and a comparison are for scripts.
COMMANDS = ("search", "open", "ingest", "replace", "delete", "list", "status", "reindex", "verify")


class Shell(cmd.Cmd):
    """Reads commands. A line that begins with none of them is searched for."""

    prompt = "cms> "
    intro = "Type what you search for, or `help`. `quit` ends."

    def __init__(self, words: argparse.Namespace) -> None:
        super().__init__()
        self._where: list[str] = ["--url", words.url, "--library", words.library]
        for option, value in (("--token-file", words.token_file), ("--ca", words.ca)):
            if value is not None:
                self._where += [option, str(value)]

    def cmdloop_until_end(self) -> None:
        """Reads commands until `quit` or the end of the input; Ctrl-C ends a command only."""
        while True:
            try:
                self.cmdloop()
                return
            except KeyboardInterrupt:
                output.say()
                self.intro = ""

    def onecmd(self, line: str) -> bool:
        """Carries out a line; returns whether it was the last one."""
        line = line.strip()
        if line in ("quit", "exit", "EOF"):
            return True
        if not line:
            return False
        first, _, rest = line.partition(" ")
        if first in ("help", "?"):
            self._help(rest.strip())
            return False
        try:
            # An apostrophe in a search is no quote.
            words = line.split() if first not in COMMANDS or first == "search" else shlex.split(line)
        except ValueError as error:
            output.complain(f"{error}; names with spaces stand in quotes")
            return False
        self._run(words if first in COMMANDS else ["search", *words])
        return False

    def completenames(self, text: str, *_: object) -> list[str]:
        """Returns the commands that begin so."""
        return [name for name in (*COMMANDS, "help", "quit") if name.startswith(text)]

    def completedefault(self, *_: object) -> list[str]:
        """Completes nothing within a command."""
        return []

    def _help(self, command: str) -> None:
        if command in COMMANDS:
            self._run([command, "--help"])
            return
        output.say("search TEXT                  find passages (the word search may be left out)")
        output.say("search TEXT --document NAME  the same in one document")
        output.say("open NAME, delete NAME       a document, by its file name or id")
        output.say("ingest FOLDER                add and replace files")
        output.say("replace FILE --as NAME       replace one document")
        output.say("list, status, reindex, verify FOLDER")
        output.say("help COMMAND                 all its options; quit ends")

    def _run(self, words: list[str]) -> None:
        try:
            chosen = parser().parse_args([words[0], *self._where, *words[1:]])
        except SystemExit:
            # The parser has told what was wrong, or has shown its help.
            return
        guarded(lambda: int(chosen.run(chosen)))
