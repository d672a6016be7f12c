"""Typed words as Hydra's overrides: what people type becomes what Hydra's grammar can read.

A value that is text stays text whatever it looks like, any argument of Lightning's Trainer may be
typed, and a word that is wrong is refused in one sentence.
"""

import inspect
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Override, Quote, QuotedString
from hydra.errors import HydraException

from fashion.commands import settings
from fashion.commands.words import expand
from fashion.defaults import CONF
from fashion.wording import did_you_mean

MULTIRUN = ("-m", "--multirun")
# Hydra's flags, and what may be said to those that take one of a few words.
FLAGS = (
    *("--help", "-h", "--hydra-help", "--version", "--resolve", "--run", "-r", *MULTIRUN),
    *("--shell-completion", "-sc"),
)
CHOICES = {"--cfg": ("job", "hydra", "all"), "-c": ("job", "hydra", "all")}
# Hydra's flags that the next word belongs to, and those of them that bring another configuration.
TAKES_A_WORD = (
    *("--cfg", "-c", "--package", "-p", "--info", "-i", "--experimental-rerun"),
    *("--config-path", "-cp", "--config-name", "-cn", "--config-dir", "-cd"),
)
OTHER_CONF = ("--config-path", "-cp", "--config-name", "-cn", "--config-dir", "-cd")
OPEN = ("callbacks.", "model.optimizer.")  # what is called there takes more than is listed
NESTED = set("[](){}'\"")
WORD = re.compile(r"(?P<sign>\+\+|\+|~|)(?P<key>[^=]*)=(?P<value>.*)", re.DOTALL)


@dataclass
class Overrides:
    """Words for Hydra.

    Attributes:
        flags: Those that begin with a dash, and what belongs to them.
        words: The overrides.
        quoted: The keys whose value was put in quotes, so that Hydra can read it as it is meant.
    """

    flags: list[str]
    words: list[str]
    quoted: list[str]

    @property
    def is_multirun(self) -> bool:
        """Whether a sweep was asked for."""
        return bool(set(MULTIRUN) & set(self.flags))

    def arguments(self) -> list[str]:
        """Return the whole command line; a sweep's callback is told which quotes aren't typed."""
        told = [f"hydra.callbacks.sweep.quoted=[{','.join(self.quoted)}]"]
        return [*self.flags, *self.words, *(told if self.quoted and self.is_multirun else [])]


def read_overrides(words: Sequence[str]) -> Overrides:
    """Translate the words of a command line.

    Raises:
        ValueError: A word is no setting, or its value can't be read.
    """
    flags, typed = _part(words)
    overrides = Overrides(flags, [], [])
    _check_flags(flags)
    is_ours = not {flag.partition("=")[0] for flag in flags} & set(OTHER_CONF)
    for word in typed:
        match = WORD.fullmatch(word)
        if match is None:
            if not word.startswith("~"):
                raise ValueError(_no_setting(word))
            overrides.words.append(word)
            continue
        sign, key, value = match["sign"], match["key"], match["value"]
        if is_ours and not sign:
            sign = _check(key, value, overrides.is_multirun)
        readable = _readable(key, value, overrides.is_multirun)
        if readable != value:
            overrides.quoted.append(key)
        overrides.words.append(f"{sign}{key}={readable}")
        _check_sweep(overrides.words[-1], overrides.is_multirun)
    return overrides


def _part(words: Sequence[str]) -> tuple[list[str], list[str]]:
    flags: list[str] = []
    typed: list[str] = []
    belongs = False
    for word in words:
        is_flag = word.startswith("-")
        (flags if is_flag or belongs else typed).append(word)
        belongs = is_flag and word in TAKES_A_WORD
    return flags, typed


def _check_flags(flags: Sequence[str]) -> None:
    """Refuse flags that Hydra doesn't know, or that lack what belongs to them."""
    rest = iter(flags)
    for word in rest:
        flag, has_value, value = word.partition("=")
        if flag not in (*FLAGS, *TAKES_A_WORD) or (flag in FLAGS and has_value):
            hint = did_you_mean(flag, (*FLAGS, *TAKES_A_WORD))
            raise ValueError(
                f"{word} is unknown{hint}; settings are key=value, and --multirun sweeps."
            )
        if flag in TAKES_A_WORD:
            value = value if has_value else next(rest, "")
            if not value and flag not in ("--info", "-i"):
                raise ValueError(f"{flag} needs a word behind it.")
            if value not in CHOICES.get(flag, (value,)):
                names = CHOICES[flag]
                hint = did_you_mean(value, names)
                raise ValueError(f"{flag} {value} is unknown{hint}; there are {', '.join(names)}.")


def _no_setting(word: str) -> str:
    flag = f"--{word}" if f"--{word}" in MULTIRUN else None
    hint = f" (did you mean {flag}?)" if flag else did_you_mean(word, _typeable("="))
    return f"{word!r} is no setting{hint}; type key=value."


def _typeable(ending: str = "") -> list[str]:
    return [f"{key}{ending}" for key in (*settings.GROUPS, *settings.settings())]


def _check(key: str, value: str, is_multirun: bool) -> str:
    """Refuse a key that there isn't, and return the sign that Hydra wants before it."""
    if key in settings.GROUPS:
        for name in value.split(",") if is_multirun else [value]:
            _check_option(key, name)
    elif key.startswith("trainer.") and key not in settings.settings():
        if key.partition(".")[2] not in _trainer_arguments():
            arguments = [f"trainer.{name}" for name in _trainer_arguments()]
            raise ValueError(_unknown(key, [*_typeable(), *arguments]))
        return "++"
    elif not (
        key.startswith("hydra")
        or "@" in key
        or key in settings.settings()
        or key in settings.nodes()
        or key.removesuffix("._target_") in settings.nodes()
    ):
        raise ValueError(_unknown(key, _typeable()))
    return ""


def _check_option(group: str, name: str) -> None:
    names = settings.options(group)
    if re.fullmatch(r"[\w.-]+", name) and name not in (*names, "base", "null"):
        raise ValueError(
            f"{group}={name} is unknown{did_you_mean(name, names)}; there are {', '.join(names)}."
        )


def _unknown(key: str, keys: Iterable[str]) -> str:
    is_open = key.startswith(OPEN) or (CONF / key).is_dir()
    advice = f"type +{key}=VALUE to add it" if is_open else "fashion train --help lists the keys"
    return f"{key} is unknown{did_you_mean(key, keys)}; {advice}."


def _trainer_arguments() -> list[str]:
    from lightning import Trainer  # takes seconds, and few words need it

    return [name for name in inspect.signature(Trainer).parameters if name != "callbacks"]


def _readable(key: str, value: str, is_multirun: bool) -> str:
    """Return a value as Hydra can read it: as it is where that does, else in quotes."""
    is_text = key in settings.TEXT_KEYS
    if key in settings.LIST_KEYS and value[:1] == "[":
        return value if _parse(value) is not None else _list(key, value)
    if key in settings.PATH_KEYS:
        pieces = _pieces(value) if is_multirun else [value]
        value = ",".join(map(expand, pieces))
    read = _parse(value)
    if is_text and os.path.lexists(value):
        return value if read is not None and _meant(read) == value else _quote(value)
    if read is not None and not is_text:
        return value
    if read is not None and read.is_sweep_override() and is_multirun and _is_sweep(read, value):
        return value
    if is_multirun and "," in value and (is_text or not NESTED & set(value)):
        return ",".join(_one(piece, is_text) for piece in map(_stripped, _pieces(value)))
    if not is_text and NESTED & set(value):
        return _list(key, value)
    return _one(value, is_text)


def _one(value: str, is_text: bool) -> str:
    """Return a single value, in quotes where Hydra would read it as another or not at all."""
    read = _parse(value)
    if read is None or (is_text and not (_is_text(read) and _is_kept(read, value))):
        return _quote(value)
    return value


def _stripped(piece: str) -> str:
    """Return a value of a sweep without spaces around it, unless something is called so."""
    return piece if os.path.lexists(piece) else piece.strip()


def _list(key: str, value: str) -> str:
    """Return a list with its texts in quotes, where it is clear which they are."""
    inner = value[1:-1]
    items = inner.split(",")
    is_flat = len(items) == 1 or not any(NESTED & set(re.sub(r"\([^()]*\)", "", i)) for i in items)
    if value[0] == "[" and value[-1] == "]" and is_flat:
        return f"[{','.join(_one(item.strip(), is_text=False) for item in items)}]"
    raise ValueError(
        f"{key}={value} can't be read; put its texts in quotes and the whole in others, as in "
        """'model.unfreeze=["^layer4", "^layer3"]'."""
    )


def _pieces(value: str) -> list[str]:
    """Cut a value at its commas, but for those within the path of something that exists."""
    parts = value.split(",")
    pieces = []
    while parts:
        sizes = range(len(parts), 1, -1)
        exists = (size for size in sizes if os.path.lexists(expand(",".join(parts[:size]))))
        size = next(exists, 1)
        pieces.append(",".join(parts[:size]))
        parts = parts[size:]
    return pieces


def _parse(value: str) -> Override | None:
    try:
        return OverridesParser.create().parse_override(f"key={value}")
    except (HydraException, ValueError):
        return None


def _meant(read: Override) -> object:
    return None if read.is_sweep_override() else read.value()


def _is_text(read: Override) -> bool:
    """Return whether Hydra, too, takes a single value for text, or for none or a list of texts."""
    return not read.is_sweep_override() and isinstance(
        read._value, str | QuotedString | list | dict | None
    )


def _is_kept(read: Override, value: str) -> bool:
    """Return whether Hydra leaves the spaces around a text where they are."""
    return value == value.strip() or not isinstance(read._value, str)


def _is_sweep(read: Override, value: str) -> bool:
    """Return whether Hydra takes the same values for those of a sweep over texts."""
    choice = read._value
    if not isinstance(choice, ChoiceSweep) or not choice.simple_form:
        return True
    is_quoted = any(isinstance(element, QuotedString) for element in choice.list)
    is_text = all(isinstance(element, str | QuotedString | None) for element in choice.list)
    return is_text and (is_quoted or len(choice.list) == len(_pieces(value)))


def _quote(text: str) -> str:
    return QuotedString(text, Quote.single).with_quotes()


def _check_sweep(word: str, is_multirun: bool) -> None:
    """Refuse several values where no sweep was asked for, and what no quotes make readable."""
    try:
        override = OverridesParser.create().parse_override(word)
    except (HydraException, ValueError):
        key = word.partition("=")[0]
        raise ValueError(f"{key!r} is no key; type key=value, as in seed=1.") from None
    if override.is_sweep_override() and not is_multirun:
        key, _, value = word.partition("=")
        raise ValueError(
            f"{key}={value} holds several values; add --multirun to sweep over them, or type "
            f"{key}=[{value}] for a list."
        )
