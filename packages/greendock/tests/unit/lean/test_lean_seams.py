"""The Gunicorn that is installed is the one that ``lean`` was written for."""

from __future__ import annotations

import functools
import importlib
import inspect
from types import SimpleNamespace

import gunicorn
import pytest
from gunicorn.config import Config
from gunicorn.http.message import Request
from gunicorn.http.unreader import IterUnreader
from gunicorn.http.wsgi import Response
from gunicorn.workers.base import Worker

from greendock.contrib.lean.request import Limits, Peer, parse_plain
from greendock.contrib.lean.seams import ATTRIBUTES, SEAMS, TESTED

HEAD = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


def test_the_parsers_were_compared_with_this_gunicorn() -> None:
    """All tests of the parser run with it. Add it to TESTED when they pass, and read what it has changed."""
    assert gunicorn.__version__ in TESTED


@pytest.mark.parametrize("place", SEAMS)
def test_gunicorn_has_what_is_called_and_overridden(place: str) -> None:
    module, _, name = place.partition(":")
    owner = functools.reduce(getattr, [name] if name else [], importlib.import_module(f"gunicorn.{module}"))
    found = {seam: tuple(inspect.signature(getattr(owner, seam)).parameters) for seam in SEAMS[place]}
    assert found == SEAMS[place]


def test_gunicorns_objects_have_the_attributes_that_are_read_and_set() -> None:
    config = Config()
    request = Request(config, IterUnreader([HEAD]), ("127.0.0.1", 1))
    log = SimpleNamespace()
    found = {
        "http.message:Request": vars(request),
        "http.wsgi:Response": vars(Response(request, None, config)),
        "workers.base:Worker": vars(Worker(1, 1, [], None, 30, config, log)),
    }
    assert {owner: tuple(sorted(names)) for owner, names in found.items()} == {
        owner: tuple(sorted(names)) for owner, names in ATTRIBUTES.items()
    }


def test_a_plain_request_has_every_attribute_of_gunicorns() -> None:
    config = Config()
    theirs = Request(config, IterUnreader([HEAD]), ("127.0.0.1", 1))
    ours = parse_plain(HEAD, Peer(config, Limits(config), ("127.0.0.1", 1)), 1)
    assert ours is not None
    different = [
        name
        for name, value in vars(theirs).items()
        if name not in ("body", "unreader") and getattr(ours, name) != value
    ]
    assert different == ["limit_request_line"] if config.limit_request_line == 0 else different == []
    assert ours.unreader is not None
    with pytest.raises(AttributeError):
        _ = ours.nothing
