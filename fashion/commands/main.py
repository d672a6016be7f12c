"""Find the command that the first word names, and run it. Nothing heavy is imported before."""

import sys
from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING

from fashion.commands.extras import describe_lack
from fashion.commands.grammar import COMMANDS
from fashion.commands.settings import described
from fashion.commands.words import columns, read, usage
from fashion.wording import did_you_mean

if TYPE_CHECKING:
    from omegaconf import DictConfig

HELP = {"-h", "--help"}


def main() -> None:
    """Run the command that the command line names."""
    name, *words = sys.argv[1:] or [""]
    if name in HELP:
        sys.stdout.write(overview())
    elif name == "--version":
        sys.stdout.write(f"fashion {version('fashion')}\n")
    elif name in COMMANDS:
        run(name, words)
    elif name:
        hint = did_you_mean(name, COMMANDS)
        sys.exit(f"{name!r} is no command{hint}; there are {', '.join(COMMANDS)}.")
    else:
        sys.stderr.write(overview())
        sys.exit(2)


def train(cfg: "DictConfig | None" = None) -> float | None:
    """Train as the words of `python train.py` say, or as a composed configuration does."""
    if cfg is None:
        run("train", sys.argv[1:])
        return None
    from fashion.commands.train import main as train_with

    return train_with(cfg)


def run(name: str, words: list[str]) -> None:
    """Run a command, or show its help; a user's mistake and a missing extra end in one sentence."""
    command = COMMANDS[name]
    if HELP & set(words):
        sys.stdout.write(usage(name, command, described(command)))
        return
    if not words and (command.required or command.one_of or command.needs_files):
        sys.stderr.write(usage(name, command))
        sys.exit(2)
    try:
        given = (words,) if command.composes else read(name, command, words)
        import_module(f"fashion.commands.{name}").run(*given)
    except ModuleNotFoundError as error:
        lack = describe_lack(f"fashion {name}", error.name or "", command=name)
        if lack is None:
            raise
        sys.exit(lack)
    except (OSError, ValueError) as error:
        sys.exit(str(error))


def overview() -> str:
    """Return the help on all commands."""
    rows = [(name, command.purpose) for name, command in COMMANDS.items()]
    return (
        "usage: fashion WORD key=value ... [FILES OR FOLDERS ...]\n\n"
        f"{columns(rows)}\n\n"
        "fashion WORD --help shows the keys of a command and an example.\n"
        "fashion --version shows the version.\n"
    )
