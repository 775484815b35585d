"""The rooms of the package: what each may import. A picture of it: ``python tests/unit/test_house.py``."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[2] / "src" / "greendock"


def room(module: str) -> str:
    """Return the room of ``greendock.room.…``; each part of ``contrib`` is one of its own."""
    parts = module.split(".")[1:]
    return ".".join(parts[:2]) if parts[:1] == ["contrib"] else parts[0] if parts else "greendock"


def imports(file: Path) -> Iterator[str]:
    """Yield the modules of this package that ``file`` imports."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "greendock":
            for name in node.names:
                inner = node.module.replace(".", "/").removeprefix("greendock") + f"/{name.name}"
                below = SOURCE / inner.lstrip("/")
                yield (
                    f"{node.module}.{name.name}" if below.with_suffix(".py").exists() or below.is_dir() else node.module
                )
        elif isinstance(node, ast.Import):
            yield from (name.name for name in node.names if name.name.split(".")[0] == "greendock")


def graph() -> dict[str, set[str]]:
    """Return each room and the rooms it imports from."""
    rooms: dict[str, set[str]] = {}
    for file in SOURCE.rglob("*.py"):
        module = ".".join(("greendock", *file.relative_to(SOURCE).with_suffix("").parts)).removesuffix(".__init__")
        mine = room(module)
        rooms.setdefault(mine, set()).update(room(name) for name in imports(file))
    return {
        mine: others - {mine, "greendock"} for mine, others in rooms.items() if mine not in ("greendock", "__main__")
    }


def floors(rooms: dict[str, set[str]]) -> dict[str, int]:
    """Return how high each room stands above those it imports."""
    height: dict[str, int] = {}
    for name in TopologicalSorter(rooms).static_order():
        height[name] = 1 + max((height[other] for other in rooms.get(name, ())), default=0)
    return height


def test_no_room_imports_in_a_circle() -> None:
    floors(graph())


def test_the_proxy_needs_only_what_both_images_have() -> None:
    """Its image has Python without packages: nothing of Gunicorn's side."""
    assert graph()["proxy"] <= {"env", "host"}


def test_the_healthcheck_and_the_rollout_stand_alone() -> None:
    assert graph()["rollout"] == set()


def test_no_name_says_only_that_something_was_found_or_given() -> None:
    for file in sorted(SOURCE.rglob("*.py")):
        tree = ast.parse(file.read_text())
        names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        names |= {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
        assert names.isdisjoint({"found", "given"}), file


if __name__ == "__main__":
    built = graph()
    for name, floor in sorted(floors(built).items(), key=lambda item: (item[1], item[0])):
        print(floor, name, "→", ", ".join(sorted(built[name])))
    print(len(built), "rooms,", max(floors(built).values()), "floors,", sum(map(len, built.values())), "arrows")
