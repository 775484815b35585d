"""The contract between this package and the template's files beside it: a number that both sides carry.

It grows when the Dockerfiles or the Compose file have to change together with the package. Then a project that took one
without the other is told so at the start.
"""

from __future__ import annotations

from collections.abc import Mapping

from greendock.env.problems import Problem

NUMBER = 1

# The variable each file sets, to the number of the template it belongs to.
FILES = {"GREENDOCK_TEMPLATE": "the Dockerfile", "GREENDOCK_COMPOSE_TEMPLATE": "docker-compose.yml"}


def problems(process: Mapping[str, str]) -> list[Problem]:
    """Return a problem for each file that belongs to another template than this package. Unset: no such file."""
    return [
        Problem(name, process[name], file, f"template {process[name]}, greendock {NUMBER}: run `make upgrade`")
        for name, file in FILES.items()
        if process.get(name, "") not in ("", str(NUMBER))
    ]
