"""The words after a command: which are settings, which are files, and what is wrong with them.

Nothing heavy is imported here, so that help and a mistyped word cost no time.
"""

import os
import re
import shutil
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import yaml

from fashion.wording import did_you_mean

NUMBER = re.compile(r"[+-]?(\d[\d_]*\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)
QUOTED = re.compile(r"""(['"])([^'"]+)\1""")
WORDS = {"null": None, "true": True, "false": False}


def expand(value: str) -> str:
    """Return a path with `~` written out, which no shell does behind an equals sign.

    Quotes around it that the shell has left are no part of it, unless something is called so.
    """
    return os.path.expanduser(value if os.path.lexists(value) else unquoted(value))


def unquoted(value: str) -> str:
    """Return a text without the quotes that the shell has left around it."""
    quoted = QUOTED.fullmatch(value)
    return quoted[2] if quoted else value


def typed(value: str) -> object:
    """Return the number, truth value, null or list that a value spells, or else its text."""
    if value.lower() in WORDS:
        return WORDS[value.lower()]
    if NUMBER.fullmatch(value):
        return float(value) if re.search(r"[.e]", value, re.IGNORECASE) else int(value)
    if value[:1] in ("[", "{"):
        try:
            return yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise ValueError(f"{value!r} is no list; type [a,b].") from error
    return value


def truth(key: str, settings: Mapping[str, str]) -> bool:
    """Return whether a setting that is left out, true or false, is true.

    Raises:
        ValueError: It is something else.
    """
    text = settings.get(key, "false")
    if text.lower() not in ("true", "false"):
        raise ValueError(f"{key}={text!r} must be true or false.")
    return text.lower() == "true"


class Key(NamedTuple):
    """A setting of a command.

    Attributes:
        help: What it decides, in one line.
        value: What stands behind the equals sign in the help.
        read: Makes a value of the text.
        repeats: Whether it may be typed several times; its value is then a list.
    """

    help: str
    value: str = "VALUE"
    read: Callable[[str], Any] = str
    repeats: bool = False


@dataclass(frozen=True)
class Command:
    """What may be typed after a word, and the help on it.

    Attributes:
        purpose: What it does, in one line.
        example: A line to type.
        details: More of what it does.
        keys: Its settings.
        required: Those of them that must be typed.
        one_of: Those of which one must be typed, and no other.
        groups: Settings that are groups of keys: `data` takes `data.KEY=VALUE`.
        files: How the help calls the words that are no settings; it is empty where there are none.
        needs_files: Whether there must be one.
        expected_file: What to pass as one.
        is_file: Whether a word is one.
        composes: Whether Hydra reads the words; see `fashion.commands.overrides`.
        helps_on: How the settings of training begin that matter to it, where Hydra reads the words;
            its help has these. All may be typed.
        helps_not_on: How those begin that don't matter all the same.
    """

    purpose: str
    example: str
    details: str = ""
    keys: Mapping[str, Key] = field(default_factory=dict)
    required: tuple[str, ...] = ()
    one_of: tuple[str, ...] = ()
    groups: Mapping[str, Callable[[str, str], Any]] = field(default_factory=dict)
    files: str = ""
    needs_files: bool = False
    expected_file: str = ""
    is_file: Callable[[str], bool] = os.path.lexists
    composes: bool = False
    helps_on: tuple[str, ...] = ()
    helps_not_on: tuple[str, ...] = ()

    def knows(self, key: str) -> bool:
        """Whether it has a setting of that name."""
        group, _, member = key.partition(".")
        return key in self.keys or bool(member and group in self.groups)

    def set(self, settings: dict[str, Any], key: str, value: str) -> None:
        """Add a typed value to its settings."""
        if key not in self.keys:
            group, _, member = key.partition(".")
            settings.setdefault(group, {})[member] = self.groups[group](key, value)
        elif self.keys[key].repeats:
            settings.setdefault(key, []).append(self.keys[key].read(value))
        else:
            settings[key] = self.keys[key].read(value)


def read(name: str, command: Command, words: Iterable[str]) -> tuple[dict[str, Any], list[str]]:
    """Part a command's words into settings and files.

    Returns:
        Values by key, those of a group by key within a dictionary; and the files.

    Raises:
        ValueError: A word is neither, or one that is required is missing.
    """
    settings: dict[str, Any] = {}
    files = []
    for word in words:
        key, is_setting, value = word.partition("=")
        if is_setting and command.knows(key):
            command.set(settings, key, value)
        elif command.files and (command.is_file(word) or command.is_file(expand(word))):
            files.append(word if command.is_file(word) else expand(word))
        else:
            raise ValueError(_unknown(name, command, word))
    for key in command.required:
        if key not in settings:
            raise ValueError(f"{key} is missing; pass {key}={command.keys[key].value}.")
    if command.one_of and len(settings.keys() & {*command.one_of}) != 1:
        choices = " or ".join(f"{key}={command.keys[key].value}" for key in command.one_of)
        raise ValueError(f"Pass {choices}, one of them.")
    if command.needs_files and not files:
        raise ValueError(f"There is nothing to work on; pass {command.expected_file}.")
    return settings, files


def _unknown(name: str, command: Command, word: str) -> str:
    key, is_setting, value = word.partition("=")
    if is_setting and key in command.groups:
        return f"{key}={value!r} is no setting; pass {key}.KEY=VALUE."
    keys = [*command.keys, *(f"{group}.KEY" for group in command.groups)]
    hint = did_you_mean(key.lstrip("-"), command.keys)
    is_like_a_file = not word.startswith("-") and (not is_setting or "/" in key)
    if command.files and is_like_a_file:
        return f"{word!r} does not exist; pass {command.expected_file}{hint}."
    return f"{key} is unknown{hint}; fashion {name} takes {', '.join(keys)}."


def usage(name: str, command: Command, lists: Sequence[tuple[str, str]] = ()) -> str:
    """Return the help on a command.

    Args:
        name: Its word.
        command: The command.
        lists: More settings, each with its help.
    """
    keys = [(f"{key}={entry.value}", entry.help) for key, entry in command.keys.items()]
    needed = [*([key] for key in command.required), *([command.one_of] if command.one_of else [])]
    words = ["|".join(f"{key}={command.keys[key].value}" for key in keys) for keys in needed]
    parts = [
        f"usage: fashion {name} {' '.join([*words, 'key=value ...', command.files]).strip()}",
        _wrap(f"{command.purpose} {command.details}".strip()),
        columns([*keys, *lists]),
        f"Example:\n  {command.example}",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def columns(rows: Sequence[tuple[str, str]], indent: str = "  ") -> str:
    """Set pairs in two columns."""
    width = min(30, max((len(left) for left, _ in rows), default=0))
    lines = []
    for left, right in rows:
        space = " " * (len(indent) + width + 2)
        first = f"{indent}{left:{width}}  "
        text = _wrap(right, space) if right else ""
        is_long = len(left) > width and text
        lines.append(f"{first.rstrip()}\n{text}" if is_long else f"{first}{text.lstrip()}".rstrip())
    return "\n".join(lines)


def _wrap(text: str, indent: str = "") -> str:
    width = max(60, min(110, shutil.get_terminal_size((100, 24)).columns))
    return textwrap.fill(
        text,
        width,
        initial_indent=indent,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
