"""Gunicorn's configuration. Nothing to edit here: every setting, hook and plugin comes from the environment.

What happens, in this order (`greendock/build.py` holds the steps):

1. `.env` beside this file is read; the process environment goes before it; `NAME_FILE` secrets are resolved.
2. The server plugins named in `GREENDOCK_PLUGINS` are loaded.
3. `GUNICORN_<SETTING>` variables become Gunicorn's settings, checked by Gunicorn's own validators.
4. The workers are counted: `WEB_CONCURRENCY`, or from the CPUs and the memory this container may use.
5. The hooks are wired: Greendock's own (`when_ready` writes the readiness file the container's healthcheck reads),
   then the plugins', then those named in `GUNICORN_<HOOK>`.
6. What is wrong, alone or together, is reported at once, and nothing starts.

Gunicorn takes every name in this file that is a setting of its own, at start and again at each SIGHUP.
`GUNICORN_CMD_ARGS` and the command line go before it. `greendock config` shows the result.
"""

from pathlib import Path

from greendock.server.build import build_or_exit

globals().update(build_or_exit(dotenv=Path(__file__).with_name(".env")).gunicorn())
