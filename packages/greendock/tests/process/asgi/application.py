"""An ASGI application that does one of everything, and says in files and on its output what it saw."""

import asyncio
import json
import os
import pathlib
import time

MIB = 1024 * 1024


def say(what):
    print(what, flush=True)


async def body_of(receive):
    body = b""
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        body += message["body"]
        if not message["more_body"]:
            return body


async def answer(send, body=b"ok", status=200, headers=()):
    length = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": [*length, *headers]})
    await send({"type": "http.response.body", "body": body})


async def start(send, *headers, status=200):
    await send({"type": "http.response.start", "status": status, "headers": list(headers)})


async def part(send, body, more=True):
    await send({"type": "http.response.body", "body": body, "more_body": more})


async def lifespan(scope, receive, send):
    how = os.environ.get("LIFESPAN", "")
    assert (await receive())["type"] == "lifespan.startup"
    if how == "raises":
        raise KeyError("no such database")
    if how == "fails":
        await send({"type": "lifespan.startup.failed", "message": "no database at db:5432"})
        return
    while how == "hangs" and not pathlib.Path("go").exists():
        await asyncio.sleep(0.02)
    scope["state"]["pool"] = "a pool"
    say("startup complete")
    await send({"type": "lifespan.startup.complete"})
    assert (await receive())["type"] == "lifespan.shutdown"
    say("shutdown begins")
    if how == "stays":
        await asyncio.sleep(600)
    await send({"type": "lifespan.shutdown.complete"})


async def websocket(scope, receive, send):
    assert (await receive())["type"] == "websocket.connect"
    if scope["path"] == "/refused":
        await send({"type": "websocket.close"})
        return
    if scope["path"] == "/slow-accept":
        pathlib.Path("arrived").touch()
        while not pathlib.Path("go").exists():
            await asyncio.sleep(0.01)
    await send({"type": "websocket.accept", "subprotocol": (scope["subprotocols"] or [None])[0]})
    if scope["path"] == "/close":
        code, _, reason = scope["query_string"].decode().partition("&")
        await send({"type": "websocket.close", "code": int(code), "reason": reason})
        return
    if scope["path"] == "/scope":
        shown = {name: value for name, value in scope.items() if name not in ("headers", "extensions")}
        shown["custom"] = dict(scope["headers"]).get(b"x-custom")
        await send({"type": "websocket.send", "text": json.dumps(shown, default=lambda value: value.decode())})
    while True:
        message = await receive()
        if message["type"] == "websocket.disconnect":
            say(f"websocket ended with {message['code']}")
            return
        await send({"type": "websocket.send", **{k: v for k, v in message.items() if k in ("text", "bytes")}})


async def scope_as_json(scope, receive, send):
    shown = {name: value for name, value in scope.items() if name not in ("headers", "extensions")}
    shown["headers"] = [[name.decode("latin-1"), value.decode("latin-1")] for name, value in scope["headers"]]
    await answer(send, json.dumps(shown, default=lambda value: value.decode("latin-1")).encode())


async def echo(scope, receive, send):
    await answer(send, await body_of(receive) or b"")


async def count(scope, receive, send):
    size, more = 0, True
    while more:
        message = await receive()
        size, more = size + len(message["body"]), message["more_body"]
    status = pathlib.Path("/proc/self/status").read_text()
    peak = next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:"))
    await answer(send, f"{size} {peak}".encode())


async def wait(scope, receive, send):
    await body_of(receive)
    pathlib.Path("arrived").touch()
    while not pathlib.Path("go").exists():
        await asyncio.sleep(0.01)
    say("request ends")
    await answer(send)


async def events(scope, receive, send):
    await start(send, (b"content-type", b"text/event-stream"), (b"x-accel-buffering", b"no"))
    number = 0
    try:
        while True:
            await part(send, b"data: %d\n" % number)  # an event may come in pieces
            await asyncio.sleep(0.02)
            await part(send, b"\n")
            number += 1
    finally:
        say(f"events end in {os.getpid()}")


async def stream(scope, receive, send):
    await start(send, (b"content-type", b"text/plain"))
    for number in range(3):
        await part(send, b"%d\n" % number)
        await asyncio.sleep(0.05)
    await part(send, b"", more=False)


async def sizes(scope, receive, send):
    await start(send, (b"content-type", b"text/plain"), (b"x-accel-buffering", b"no"))
    for size in scope["query_string"].split(b","):
        await part(send, b"x" * int(size))
    await part(send, b"", more=False)


async def echo_stream(scope, receive, send):
    await start(send, (b"x-accel-buffering", b"no"))
    more = True
    while more:
        message = await receive()
        more = message["more_body"]
        await part(send, message["body"], more)


async def ticks(scope, receive, send):
    await start(send, (b"content-type", b"text/event-stream"), (b"x-accel-buffering", b"no"))
    for number in range(int(scope["query_string"])):
        await part(send, b"id: %d\nevent: message\ndata: {}\n\n" % number)
    await part(send, b"", more=False)


async def one_event(scope, receive, send):
    await start(send, (b"content-type", b"text/event-stream"))
    await part(send, b"data: 0\n\n")
    await asyncio.sleep(600)


async def large(scope, receive, send):
    await start(send, (b"content-length", b"%d" % (64 * MIB)))
    for number in range(64):
        await part(send, bytes([number]) * MIB, more=number < 63)


async def gone(scope, receive, send):
    await start(send)
    await part(send, b"begun\n")
    message = await receive()
    while message["type"] == "http.request":
        message = await receive()
    say(f"the client is gone: {message['type']}")
    deadline = time.monotonic() + 20
    try:
        while time.monotonic() < deadline:
            await part(send, b"more")
            await asyncio.sleep(0.05)
    except OSError as error:
        say(f"send has raised {type(error).__name__}")


async def hints(scope, receive, send):
    assert "http.response.early_hint" in scope["extensions"]
    await send({"type": "http.response.early_hint", "links": [b"</style.css>; rel=preload; as=style"]})
    await answer(send)


async def background(scope, receive, send):
    await answer(send)
    await asyncio.sleep(0.5)
    say("background task done")


async def block(scope, receive, send):
    def block_here():
        time.sleep(600)

    block_here()


async def boom(scope, receive, send):
    raise ValueError("boom")


async def boom_late(scope, receive, send):
    await start(send)
    await part(send, b"begun")
    raise ValueError("boom late")


async def no_answer(scope, receive, send):
    pass


async def unread(scope, receive, send):
    await answer(send, b"not read")


async def forever(scope, receive, send):
    pathlib.Path("arrived").touch()
    await asyncio.sleep(600)


async def bad_header(scope, receive, send):
    await answer(send, headers=[(b"x-split", b"a\r\nset-cookie: b=c")])


async def too_long(scope, receive, send):
    await start(send, (b"content-length", b"2"))
    await part(send, b"three", more=False)


async def too_short(scope, receive, send):
    await start(send, (b"content-length", b"200"))
    await part(send, b"three", more=False)


async def empty(scope, receive, send):
    await start(send, status=int(scope["query_string"]))
    await part(send, b"", more=False)


async def status(scope, receive, send):
    await answer(send, status=int(scope["query_string"]), headers=[(b"location", b"/elsewhere")])


async def cookies(scope, receive, send):
    given = b"; ".join(value for name, value in scope["headers"] if name == b"cookie")
    await answer(send, given, headers=[(b"set-cookie", b"a=1"), (b"set-cookie", b"b=2; Path=/")])


async def changes_state(scope, receive, send):
    before = sorted(scope["state"])
    scope["state"]["mine"] = True
    await answer(send, json.dumps(before).encode())


async def stray(scope, receive, send):
    async def fails():
        raise KeyError("nobody awaits this")

    asyncio.get_running_loop().create_task(fails())
    await asyncio.sleep(0.05)
    await answer(send)


async def exits(scope, receive, send):
    raise SystemExit(3)


ROUTES = {
    "/": unread,
    "/scope": scope_as_json,
    **{
        f"/{function.__name__.replace('_', '-')}": function
        for function in (
            echo,
            count,
            wait,
            events,
            stream,
            sizes,
            echo_stream,
            ticks,
            one_event,
            large,
            gone,
            hints,
            background,
            block,
            boom,
            boom_late,
            no_answer,
            unread,
            forever,
            bad_header,
            too_long,
            too_short,
            empty,
            stray,
            exits,
            status,
            cookies,
            changes_state,
        )
    },
}


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await lifespan(scope, receive, send)
    elif scope["type"] == "websocket":
        await websocket(scope, receive, send)
    else:
        await ROUTES.get(scope["path"], scope_as_json)(scope, receive, send)
