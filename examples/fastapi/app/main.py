"""FastAPI behind Greendock: `GUNICORN_WORKER_CLASS=asgi`."""

from fastapi import FastAPI

app = FastAPI()


@app.get("/")
async def root() -> dict[str, str]:
    """Answer as JSON."""
    return {"framework": "fastapi"}
