"""`fashion serve`: a bundle behind HTTP."""

from dataclasses import fields
from pathlib import Path
from typing import Any

from fashion.bundles.bundle_files import BundleFiles
from fashion.commands.predict import precision_of
from fashion.commands.words import truth
from fashion.review.review_store import BLIND_SHARE, MAX_GB
from fashion.service.addresses import NO_TOKEN, check_host, listen, read_token
from fashion.service.server import serve
from fashion.service.settings import Limits, Settings


def run(settings: dict[str, Any], files: list[str]) -> None:
    """Serve until a signal says otherwise."""
    limits = Limits(**_limits(settings))
    bundle = Path(settings["bundle"])
    BundleFiles(bundle)  # a wrong one is told before anything else
    token_file = Path(settings["token_file"]) if "token_file" in settings else None
    token = read_token(token_file, settings.get("token"))
    host = settings.get("host", "127.0.0.1")
    bound = listen(host, _whole("port", settings.get("port", "8000"), 65535))
    with bound:
        hosts = check_host(
            bound,
            host,
            _names("hosts", settings),
            has_token=token is not None,
            is_open=settings.get("token") == NO_TOKEN,
        )
        told = Settings(
            bundle=bundle,
            int8=truth("int8", settings),
            precision=precision_of(settings.get("precision")),
            hosts=hosts,
            origins=_names("origins", settings),
            token=token,
            page=truth("page", {"page": "true", **settings}),
            review=Path(settings["review"]) if "review" in settings else None,
            review_gb=_number("review_gb", settings.get("review_gb", str(MAX_GB))),
            blind=_number("blind", settings.get("blind", str(BLIND_SHARE))),
            open=truth("open", settings),
            debug=truth("debug", settings),
            limits=limits,
        )
        serve(told, bound)


def _limits(settings: dict[str, Any]) -> dict[str, Any]:
    """Return the limits that were typed, each as the number that it is to be."""
    return {
        each.name: _whole(each.name, settings[each.name])
        if each.type is int
        else _number(each.name, settings[each.name])
        for each in fields(Limits)
        if each.name in settings
    }


def _whole(key: str, text: str, most: int = 10**12) -> int:
    if not text.isdecimal() or int(text) > most:
        raise ValueError(f"{key}={text!r} must be a whole number.")
    return int(text)


def _number(key: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{key}={text!r} must be a number.") from None


def _names(key: str, settings: dict[str, Any]) -> tuple[str, ...]:
    names = tuple(name.strip().lower() for name in settings.get(key, "").split(",") if name.strip())
    if "*" in "".join(names):
        raise ValueError(f"{key}={settings[key]!r} may have no *; name each.")
    return names
