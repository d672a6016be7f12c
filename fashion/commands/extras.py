"""Which extra of the package brings a library that is missing, and the line that installs it."""

import re
from importlib.metadata import PackageNotFoundError, requires

REQUIREMENT = re.compile(r"([\w.-]+).*extra == ['\"]([\w-]+)['\"]")
# Libraries that are installed by another name than they are imported by.
INSTALLED_AS = {"faiss": "faiss-cpu", "hydra": "hydra-core", "sklearn": "scikit-learn"}


def describe_lack(what: str, module: str, command: str = "") -> str | None:
    """Say which library is missing and what to type, or None if no extra brings it.

    No extra brings a module of the package itself, a part of a library, or a mistyped name.

    Args:
        what: That needs the library, such as `fashion train`.
        module: Its name as it is imported, or as it is installed.
        command: Whose own extra is named if that brings it; else it is the smallest that does.
    """
    extras = _libraries_of_extras()
    library = INSTALLED_AS.get(module, module).lower().replace("_", "-")
    bringing = [extra for extra, libraries in extras.items() if library in libraries]
    if not bringing:
        return None
    smallest = min(bringing, key=lambda extra: len(extras[extra]))
    extra = command if command in bringing else smallest
    return (
        f"{what} needs {module}, which isn't installed here: pip install -e '.[{extra}]' in the "
        f"repository's folder, or pip install 'FILE.whl[{extra}]'."
    )


def _libraries_of_extras() -> dict[str, list[str]]:
    """Return what the installed package asks for, by the extras that it asks for it under."""
    try:
        lines = requires("fashion") or []
    except PackageNotFoundError:  # a checkout that isn't installed
        return {}
    extras: dict[str, list[str]] = {}
    for match in filter(None, map(REQUIREMENT.match, lines)):
        library, extra = match.groups()
        extras.setdefault(extra, []).append(library)
    return extras
