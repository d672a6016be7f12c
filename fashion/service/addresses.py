"""Where a service listens, and what it needs to listen there."""

import errno
import ipaddress
import os
import socket
from collections.abc import Sequence
from pathlib import Path

from fashion.service.settings import LOOPBACK_HOSTS

VARIABLE = "FASHION_TOKEN"
MIN_TOKEN = 16  # characters, of which nobody guesses all
NO_TOKEN = "none"
HOW_TO_MAKE_ONE = "python -c 'import secrets; print(secrets.token_urlsafe())' makes one"


def read_token(token_file: Path | None, token: str | None) -> str | None:
    """Return the token that callers need; None where there is none.

    Args:
        token_file: A file that holds it.
        token: `none`, where it is to be done without; it itself isn't typed, for everybody on the
            machine sees what is.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is too short, or typed.
    """
    if token not in (None, NO_TOKEN):
        raise ValueError(
            f"token= takes {NO_TOKEN} alone, for all users of a machine see what is typed; put the "
            f"token into a file, token_file=FILE, or into the variable {VARIABLE}."
        )
    if token_file is not None and not token_file.is_file():
        raise FileNotFoundError(f"token_file={str(token_file)!r} is no file; {HOW_TO_MAKE_ONE}.")
    source = VARIABLE if token_file is None else f"token_file={str(token_file)!r}"
    text = os.environ.get(VARIABLE, "") if token_file is None else token_file.read_text("utf-8")
    text = text.strip()
    if token == NO_TOKEN:
        if text:
            raise ValueError(f"token={NO_TOKEN} and {source} contradict each other; drop one.")
        return None
    if not text and token_file is None:
        return None
    if len(text) < MIN_TOKEN or not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError(
            f"The token of {source} must be {MIN_TOKEN} characters or more, ASCII without spaces; "
            f"{HOW_TO_MAKE_ONE}."
        )
    return text


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that is bound, so that nobody else gets the port, and doesn't listen yet.

    Raises:
        ValueError: The host is no address of this machine, or the port is taken.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        raise ValueError(f"host={host!r} is no address of this machine.") from error
    bound = socket.socket(family, kind, protocol)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except OSError as error:
        bound.close()
        raise ValueError(_why_not(host, port, error)) from error
    return bound


def check_host(
    bound: socket.socket, host: str, hosts: Sequence[str], *, has_token: bool, is_open: bool
) -> tuple[str, ...]:
    """Return what a request's Host may be.

    Args:
        bound: The socket.
        host: As it was typed.
        hosts: What was typed as `hosts`.
        has_token: Whether callers need one.
        is_open: Whether it was written out that they need none.

    Raises:
        ValueError: Others than this machine's users could call without one, or by unknown names.
    """
    address = ipaddress.ip_address(bound.getsockname()[0].partition("%")[0])
    own = f"[{address}]" if address.version == 6 else str(address)
    if address.is_loopback:
        return (*LOOPBACK_HOSTS, own, *hosts)
    if not has_token and not is_open:
        raise ValueError(
            f"host={host!r} lets other machines call, which takes a token: pass token_file=FILE or "
            f"set {VARIABLE} ({HOW_TO_MAKE_ONE}), or token={NO_TOKEN} behind a proxy that asks who "
            "calls."
        )
    if address.is_unspecified:
        if not hosts:
            raise ValueError(
                f"host={host!r} is every address of this machine; pass hosts=NAME,… with the names "
                "by which it is called, such as hosts=photos.example.org."
            )
        return (*LOOPBACK_HOSTS, *hosts)
    return (*LOOPBACK_HOSTS, own, host.lower(), *hosts)


def url(bound: socket.socket) -> str:
    """Return the address of a socket, as a browser on this machine takes it."""
    host, port = bound.getsockname()[:2]
    address = ipaddress.ip_address(host.partition("%")[0])
    if address.is_unspecified:
        return f"http://localhost:{port}"
    return f"http://[{address}]:{port}" if address.version == 6 else f"http://{address}:{port}"


def _why_not(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"port={port} is in use on {host}; end what listens there or pass another, port=0 for "
            "any that is free."
        )
    if error.errno == errno.EACCES:
        return f"port={port} may not be used by this user; pass one from 1024 on."
    return f"host={host!r} is no address of this machine."
