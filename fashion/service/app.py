"""The service as one ASGI application."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request
from fastapi.responses import Response
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp

from fashion.service import hub, page, review_routes, routes
from fashion.service.access import Doors, Lock
from fashion.service.frame import CLIENT_GONE, Frame
from fashion.service.intake import Intake
from fashion.service.problems import tell_problems
from fashion.service.service import ClientGone, Service


def build_app(service: Service) -> Frame:
    """Return the application: what each request goes through, the routes at last."""
    settings = service.settings
    app: ASGIApp = Intake(_routes(service), settings.limits)
    if settings.token is not None:
        app = Lock(app, settings.token)
    if settings.origins:
        app = CORSMiddleware(
            app,
            allow_origins=settings.origins,
            allow_methods=["GET", "POST"],
            allow_headers=["authorization", "content-type", "x-request-id"],
        )
    return Frame(Doors(app, settings.hosts, settings.origins), service)


def _routes(service: Service) -> FastAPI:
    @asynccontextmanager
    async def live(app: FastAPI) -> AsyncIterator[None]:
        yield
        service.line.close()
        if service.review is not None:
            service.review.close()

    app = FastAPI(
        title="fashion", docs_url=None, redoc_url=None, lifespan=live, openapi_url="/openapi.json"
    )
    tell_problems(app)
    app.add_exception_handler(ClientDisconnect, _let_go)
    app.add_exception_handler(ClientGone, _let_go)
    app.include_router(routes.router(service))
    app.include_router(hub.router(service))
    if service.review is not None:
        app.include_router(
            review_routes.router(service.review, lambda: service.models.current.network.class_names)
        )
    if service.settings.page:
        app.include_router(page.router())
    return app


async def _let_go(request: Request, error: Exception) -> Response:
    return Response(status_code=CLIENT_GONE)
