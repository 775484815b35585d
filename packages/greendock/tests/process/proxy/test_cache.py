"""The micro-cache: on by variable, and blind to anything personal."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.process.proxy.support import Proxy, Record


@pytest.fixture(scope="module")
def cached(launch_module: Callable[..., Proxy]) -> Proxy:
    return launch_module(CACHE_TIME="1h")


def stamps(proxy: Proxy, path: str, times: int = 2, **kwargs: object) -> list[int]:
    return [
        proxy.request(str(kwargs.get("method", "GET")), path, headers=kwargs.get("headers")).json()["stamp"]
        for _ in range(times)
    ]


def test_nothing_is_cached_by_default(proxy: Proxy) -> None:
    first, second = stamps(proxy, "/default")
    assert first != second


def test_an_anonymous_get_is_answered_from_the_cache(cached: Proxy) -> None:
    first = cached.get("/anonymous")
    second = cached.get("/anonymous")
    assert (first.headers["X-Cache"], second.headers["X-Cache"]) == ("MISS", "HIT")
    assert first.json()["stamp"] == second.json()["stamp"]
    assert first.headers["X-Request-ID"] != second.headers["X-Request-ID"]


@pytest.mark.parametrize("headers", [{"Cookie": "session=1"}, {"Authorization": "Bearer x"}])
def test_a_personal_request_is_neither_answered_from_the_cache_nor_stored(
    cached: Proxy, headers: dict[str, str]
) -> None:
    path = f"/personal/{'-'.join(headers)}"
    (personal,) = stamps(cached, path, 1, headers=headers)
    (anonymous,) = stamps(cached, path, 1)
    assert personal != anonymous, "not stored"
    assert stamps(cached, path, 1, headers=headers) != [anonymous], "not answered from the cache"
    assert stamps(cached, path, 1) == [anonymous]


@pytest.mark.parametrize(
    "header",
    ["!Set-Cookie=a=b", "!Cache-Control=private", "!Cache-Control=no-store", "!Cache-Control=no-cache", "!Vary=*"],
)
def test_a_response_that_must_not_be_shared_is_not(cached: Proxy, header: str) -> None:
    first, second = stamps(cached, f"/unshared?{header}")
    assert first != second


def test_a_response_varies_as_it_says(cached: Proxy) -> None:
    path = "/vary?!Vary=Accept-Language"
    german = stamps(cached, path, headers={"Accept-Language": "de"})
    french = stamps(cached, path, headers={"Accept-Language": "fr"})
    assert german[0] == german[1]
    assert french[0] == french[1]
    assert german != french


def test_hosts_queries_and_methods_are_kept_apart(cached: Proxy) -> None:
    seen = [stamps(cached, path, 1)[0] for path in ("/apart?a=1", "/apart?a=2", "/apart")]
    seen += stamps(cached, "/apart", 1, headers={"Host": "other.localhost"})
    seen += stamps(cached, "/apart", 2, method="POST")
    assert len(set(seen)) == 6


def test_an_error_is_not_cached(cached: Proxy) -> None:
    first, second = stamps(cached, "/error?status=500 Oops")
    assert first != second


def test_many_clients_at_once_cost_the_application_one_request(cached: Proxy, record: Record) -> None:
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: cached.get("/herd").json()["stamp"], range(64)))
    assert len(set(answers)) == 1
    assert record.count("/herd") == 1
