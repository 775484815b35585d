"""The application for ASGI servers, on Starlette: the same answers as `bench/app.py`. `/fastapi` is FastAPI's."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from bench.app import BULK, HELLO, ITEM, PAGE, STATIC, WAIT_SECONDS


async def _json(_: Request) -> Response:
    return JSONResponse(ITEM)


async def _wait(_: Request) -> Response:
    await asyncio.sleep(WAIT_SECONDS)
    return JSONResponse(ITEM)


async def _large(_: Request) -> Response:
    return Response(json.dumps(PAGE), media_type="application/json")


async def _bulk(_: Request) -> Response:
    return Response(BULK, media_type="application/octet-stream")


async def _upload(request: Request) -> Response:
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
    return JSONResponse({"size": size})


starlette = Starlette(
    routes=[
        Route("/json", _json),
        Route("/wait", _wait),
        Route("/large", _large),
        Route("/bulk", _bulk),
        Route("/upload", _upload, methods=["POST"]),
        Mount("/static", StaticFiles(directory=STATIC, check_dir=False)),
    ]
)


fastapi = FastAPI()


@fastapi.get("/fastapi")
async def _fastapi() -> dict[str, Any]:
    return ITEM


async def asgi(scope: Any, receive: Any, send: Any) -> None:
    """Serve one ASGI connection."""
    if scope["type"] == "http" and scope["path"] == "/hello":
        headers = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(HELLO))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": HELLO})
        return
    if scope["type"] == "websocket":
        await _echo(receive, send)
    elif scope["type"] == "http" and scope["path"] == "/events":
        await _events(receive, send)
    elif scope["type"] == "http" and scope["path"] == "/fastapi":
        await fastapi(scope, receive, send)
    else:
        await starlette(scope, receive, send)


async def _echo(receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": message["text"]})


async def _events(receive: Any, send: Any) -> None:
    """Send the time five times a second, until the client goes away."""
    headers = [(b"content-type", b"text/event-stream"), (b"x-accel-buffering", b"no")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    gone = asyncio.ensure_future(_gone(receive))
    while not gone.done():
        await send({"type": "http.response.body", "body": b"data: %f\n\n" % time.time(), "more_body": True})
        await asyncio.sleep(0.2)


async def _gone(receive: Any) -> None:
    while (await receive())["type"] == "http.request":
        pass
