"""The same small site on five frameworks. Each is a module's source, whose ``app`` is served."""

STARLETTE = """
import asyncio, pathlib
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route, WebSocketRoute

async def root(request):
    url = str(request.url_for("root"))
    return JSONResponse({"client": request.client.host, "scheme": request.url.scheme, "url": url})

async def echo(websocket):
    await websocket.accept()
    async for text in websocket.iter_text():
        await websocket.send_text(text)

async def ticks():
    for number in range(3):
        yield f"data: {number}\\n\\n"
        while not pathlib.Path(f"seen-{number}").exists():
            await asyncio.sleep(0.01)

async def events(request):
    return StreamingResponse(ticks(), media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})

async def after():
    await asyncio.sleep(0.05)
    pathlib.Path("after").touch()

async def later(request):
    body = await request.body()
    return JSONResponse({"size": len(body)}, background=BackgroundTask(after))

app = Starlette(routes=[
    Route("/", root, name="root"), WebSocketRoute("/ws", echo), Route("/events", events),
    Route("/later", later, methods=["POST"]),
])
"""

FASTAPI = """
import asyncio, pathlib
from fastapi import BackgroundTasks, FastAPI, Request, WebSocket, WebSocketDisconnect
from fastapi.responses import StreamingResponse

app = FastAPI()

@app.get("/", name="root")
async def root(request: Request):
    return {"client": request.client.host, "scheme": request.url.scheme, "url": str(request.url_for("root"))}

@app.websocket("/ws")
async def echo(websocket: WebSocket):
    await websocket.accept()
    try:
        while True:
            await websocket.send_text(await websocket.receive_text())
    except WebSocketDisconnect:
        pass

async def ticks():
    for number in range(3):
        yield f"data: {number}\\n\\n"
        while not pathlib.Path(f"seen-{number}").exists():
            await asyncio.sleep(0.01)

@app.get("/events")
async def events():
    return StreamingResponse(ticks(), media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})

async def after():
    await asyncio.sleep(0.05)
    pathlib.Path("after").touch()

@app.post("/later")
async def later(request: Request, tasks: BackgroundTasks):
    tasks.add_task(after)
    return {"size": len(await request.body())}
"""

DJANGO = """
import asyncio, pathlib
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.http import JsonResponse, StreamingHttpResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

settings.configure(
    ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], SECURE_PROXY_SSL_HEADER=("HTTP_X_FORWARDED_PROTO", "https")
)

async def root(request):
    return JsonResponse({
        "client": request.META["REMOTE_ADDR"], "scheme": request.scheme, "url": request.build_absolute_uri("/"),
    })

async def ticks():
    for number in range(3):
        yield f"data: {number}\\n\\n"
        while not pathlib.Path(f"seen-{number}").exists():
            await asyncio.sleep(0.01)

async def events(request):
    return StreamingHttpResponse(ticks(), content_type="text/event-stream", headers={"X-Accel-Buffering": "no"})

async def after():
    await asyncio.sleep(0.05)
    pathlib.Path("after").touch()

tasks = set()

@csrf_exempt
async def later(request):
    task = asyncio.create_task(after())
    tasks.add(task)
    task.add_done_callback(tasks.discard)
    return JsonResponse({"size": len(request.body)})

urlpatterns = [path("", root), path("events", events), path("later", later)]
django = get_asgi_application()

async def echo(scope, receive, send):
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": message["text"]})

async def app(scope, receive, send):
    # As Channels' ProtocolTypeRouter does it.
    await {"http": django, "websocket": echo}[scope["type"]](scope, receive, send)
"""

LITESTAR = """
import asyncio, pathlib
from litestar import Litestar, Request, WebSocket, get, post, websocket
from litestar.background_tasks import BackgroundTask
from litestar.response import Response, Stream

@get("/", name="root")
async def root(request: Request) -> dict[str, str]:
    return {"client": request.client.host, "scheme": request.url.scheme, "url": str(request.base_url)}

@websocket("/ws")
async def echo(socket: WebSocket) -> None:
    await socket.accept()
    async for text in socket.iter_data():
        await socket.send_text(text)

async def ticks():
    for number in range(3):
        yield f"data: {number}\\n\\n"
        while not pathlib.Path(f"seen-{number}").exists():
            await asyncio.sleep(0.01)

@get("/events")
async def events() -> Stream:
    return Stream(ticks(), media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})

async def after():
    await asyncio.sleep(0.05)
    pathlib.Path("after").touch()

@post("/later", status_code=200)
async def later(request: Request) -> Response[dict[str, int]]:
    return Response({"size": len(await request.body())}, background=BackgroundTask(after))

app = Litestar([root, echo, events, later])
"""

QUART = """
import asyncio, pathlib
from quart import Quart, Response, jsonify, request, websocket

app = Quart(__name__)

@app.get("/")
async def root():
    return {"client": request.remote_addr, "scheme": request.scheme, "url": request.url}

@app.websocket("/ws")
async def echo():
    while True:
        await websocket.send(await websocket.receive())

async def ticks():
    for number in range(3):
        yield f"data: {number}\\n\\n".encode()
        while not pathlib.Path(f"seen-{number}").exists():
            await asyncio.sleep(0.01)

@app.get("/events")
async def events():
    response = Response(ticks(), mimetype="text/event-stream", headers={"X-Accel-Buffering": "no"})
    response.timeout = None
    return response

async def after():
    await asyncio.sleep(0.05)
    pathlib.Path("after").touch()

@app.post("/later")
async def later():
    size = len(await request.get_data())
    app.add_background_task(after)
    return {"size": size}
"""

FRAMEWORKS = {"starlette": STARLETTE, "fastapi": FASTAPI, "django": DJANGO, "litestar": LITESTAR, "quart": QUART}
