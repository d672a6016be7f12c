"""The page for people; browsers keep its files for good, as their path changes with them."""

import gzip
import hashlib
from pathlib import Path
from typing import NamedTuple

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import Response

STATIC = Path(__file__).parent / "static"
KINDS = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
DIGEST = "DIGEST"  # what stands in the page for the digest of all files
# Nothing but what this server sends is loaded, run or called; no text becomes HTML or script.
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob:",
        "connect-src 'self'",
        "worker-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types fashion",
    )
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "Vary": "Accept-Encoding",
    "X-Content-Type-Options": "nosniff",
}
FOR_GOOD = "public, max-age=31536000, immutable"
NOT_WITHOUT_ASKING = "no-cache"


class _File(NamedTuple):
    kind: str
    content: bytes
    packed: bytes

    def answer(self, request: Request, caching: str) -> Response:
        headers = {**HEADERS, "Cache-Control": caching}
        if "gzip" in request.headers.get("accept-encoding", ""):
            return Response(
                self.packed, headers={**headers, "Content-Encoding": "gzip"}, media_type=self.kind
            )
        return Response(self.content, headers=headers, media_type=self.kind)


def router() -> APIRouter:
    """Return the routes `/` and `/static/DIGEST/NAME`; the files are read once, now."""
    contents = _read_files()
    digest = _digest(contents)
    page = contents.pop("index.html").replace(DIGEST.encode(), digest.encode())
    index = _file("index.html", page)
    files = {name: _file(name, content) for name, content in contents.items()}
    routes = APIRouter(include_in_schema=False)

    @routes.api_route("/", methods=["GET", "HEAD"])
    async def show_page(request: Request) -> Response:
        return index.answer(request, NOT_WITHOUT_ASKING)

    @routes.api_route("/static/{asked}/{name:path}", methods=["GET", "HEAD"])
    async def send_file(request: Request, asked: str, name: str) -> Response:
        if asked != digest or name not in files:
            raise HTTPException(404, "There is no such file; load the page again.")
        return files[name].answer(request, FOR_GOOD)

    return routes


def _read_files() -> dict[str, bytes]:
    paths = sorted(path for path in STATIC.rglob("*") if path.suffix in KINDS)
    return {path.relative_to(STATIC).as_posix(): path.read_bytes() for path in paths}


def _digest(contents: dict[str, bytes]) -> str:
    digest = hashlib.sha256()
    for name, content in contents.items():
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()[:16]


def _file(name: str, content: bytes) -> _File:
    return _File(KINDS[Path(name).suffix], content, gzip.compress(content, mtime=0))
