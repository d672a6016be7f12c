"""The words of a product's name, and what the forms of one word share."""

import re
import unicodedata

LONGEST = 1_000  # characters of a name that are read
# Dropped, so that T-shirt and men's are a word each; the hyphens first.
HYPHENS = "-\u2010\u2011\u00ad"
APOSTROPHES = "'`\u00b4\u2018\u2019\u02bc"
_JOINING = re.compile(f"[{re.escape(APOSTROPHES)}]")
_HYPHENS = re.compile(f"(?<=[^\\W_])[{re.escape(HYPHENS)}]+(?=[^\\W_])")
_COMPOUND = re.compile(r"[^\W_]+(?:-[^\W_]+)*")
_ENDINGS = (  # of the plural, the first that fits; what is left keeps two letters at least
    ("ies", "y"),
    ("ves", "f"),
    *((f"{hiss}es", hiss) for hiss in ("ss", "sh", "ch", "x", "z")),
    ("ss", "ss"),
    ("s", ""),
)


def compounds(name: str) -> list[list[str]]:
    """Return the words of a name in lower case, each as the parts that its hyphens join.

    Accents, apostrophes and characters that can't be seen are dropped; what is neither a letter nor
    a digit parts words. Of a name above `LONGEST` characters the whole words up to there count.
    """
    if len(name) > LONGEST:
        name = name[: LONGEST + 1].rpartition(" ")[0]
    text = name
    if not text.isascii():
        text = "".join(filter(_is_read, unicodedata.normalize("NFKD", text)))
    text = _HYPHENS.sub("-", _JOINING.sub("", text.lower()))
    return [word.split("-") for word in _COMPOUND.findall(text)]


def words(name: str) -> list[str]:
    """Return the words of a name as `compounds` tells them, their parts joined."""
    return ["".join(parts) for parts in compounds(name)]


def stem(word: str) -> str:
    """Return what the singular and the plural of a word share: `watch` of `watches`.

    It need not be a word itself; any two forms of one have the same.
    """
    for ending, left in _ENDINGS:
        if word.endswith(ending) and len(word) > len(ending) + 1:
            word = word[: -len(ending)] + left
            break
    # Hoodie and hoodies, glove and gloves, knife and knives.
    for ending, left in (("ie", "y"), ("ve", "f"), ("fe", "f")):
        if word.endswith(ending) and len(word) > len(ending) + 1:
            return word[: -len(ending)] + left
    return word


def _is_read(character: str) -> bool:
    """Whether a character counts: accents and what is not seen don't, but for hyphens."""
    return character in HYPHENS or unicodedata.category(character) not in ("Mn", "Cf")
