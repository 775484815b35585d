"""Notes: FastAPI behind Greendock, with a pool of database connections, server-sent events and a WebSocket.

`GUNICORN_WORKER_CLASS=asgi`, and `greendock[asgi]` and `fastapi` among your dependencies.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import Depends, FastAPI, Request, WebSocket
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from app.database import Pool

log = logging.getLogger("gunicorn.error")


@asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncIterator[dict[str, Pool]]:
    """Run in each worker: it is ready after the first part; the second comes after its last request."""
    pool = await Pool.connect(size=4)
    yield {"pool": pool}
    await pool.close()
    log.info("The pool is closed")


app = FastAPI(lifespan=lifespan)


def pool_of(request: Request) -> Pool:
    """Return this worker's pool."""
    pool: Pool = request.state.pool
    return pool


Database = Annotated[Pool, Depends(pool_of)]


class Note(BaseModel):
    """What is sent and what is stored."""

    text: str


@app.get("/")
async def root() -> dict[str, str]:
    """Answer as JSON."""
    return {"framework": "fastapi"}


@app.post("/notes", status_code=201)
async def write(note: Note, database: Database) -> Note:
    """Store a note."""
    await database.run("INSERT INTO notes (text) VALUES (?)", note.text)
    return note


@app.get("/notes")
async def read(database: Database) -> list[Note]:
    """Return all notes."""
    return [Note(text=text) for _, text in await database.run("SELECT id, text FROM notes ORDER BY id")]


@app.get("/events")
async def events(database: Database) -> StreamingResponse:
    """Send each note, and then each new one, as a server-sent event.

    When the worker stops, the stream ends after a whole event; the browser's EventSource connects again.
    """

    async def new_notes() -> AsyncIterator[str]:
        last = 0
        while True:
            for number, text in await database.run("SELECT id, text FROM notes WHERE id > ? ORDER BY id", last):
                yield f"id: {number}\ndata: {text}\n\n"
                last = number
            await asyncio.sleep(0.2)

    # Nginx passes the events on at once, instead of collecting them.
    return StreamingResponse(new_notes(), media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})


@app.websocket("/ws")
async def echo(websocket: WebSocket) -> None:
    """Send back what comes. When the worker stops, the client gets close code 1012 and connects again."""
    await websocket.accept()
    async for text in websocket.iter_text():
        await websocket.send_text(text)
