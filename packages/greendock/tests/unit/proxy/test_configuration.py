from ipaddress import ip_network
from pathlib import Path

import pytest

from greendock.env.problems import ConfigurationError
from greendock.proxy.configuration import read
from greendock.proxy.networks import NAMED
from greendock.proxy.variables import VARIABLES


def test_every_default_is_accepted_by_its_own_kind() -> None:
    values = read({})
    assert set(values) == {variable.name for variable in VARIABLES}
    assert values["NGINX_UPSTREAM"] == ["app:8000"]
    assert values["NGINX_UPSTREAM_KEEPALIVE_TIMEOUT"] == 30


def test_every_variable_says_what_it_is_for() -> None:
    for variable in VARIABLES:
        assert variable.name.startswith("NGINX_")
        assert variable.reader == "nginx"
        assert len(variable.summary) > 10


def test_all_problems_are_reported_at_once(tmp_path: Path) -> None:
    given = {
        "NGINX_HTTP_PORT": "70000",
        "NGINX_PROXY_READ_TIMEOUT": "60 parsecs",
        "NGINX_SERVER_NAME": "example.com",
        "NGINX_TRUSTED_PROXIES": "everyone",
        "NGINX_STATUS_PORT": "8443",
        "NGINX_RATE_LIMIT_FILE": str(tmp_path / "missing"),
        "NGINX_HTTP3": "on",
    }
    with pytest.raises(ConfigurationError) as caught:
        read(given)
    report = str(caught.value)
    assert {problem.variable for problem in caught.value.problems} == set(given)
    assert "did you mean NGINX_SERVER_NAMES?" in report
    assert "a port other than NGINX_HTTPS_PORT's" in report


def test_what_others_set_under_the_prefix_is_left_alone() -> None:
    read({"NGINX_VERSION": "1.30.6", "NGINX_SERVICE_HOST": "10.0.0.1", "NGINX_PORT": "tcp://10.0.0.1:80", "PATH": "/"})


def test_an_empty_value_counts_as_unset() -> None:
    assert read({"NGINX_HTTP_PORT": ""})["NGINX_HTTP_PORT"] == 8080


def test_a_value_can_come_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "names"
    file.write_text("example.com\n")
    assert read({"NGINX_SERVER_NAMES_FILE": str(file)})["NGINX_SERVER_NAMES"] == ["example.com"]


def test_a_secret_value_is_not_shown(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("-----BEGIN SOMETHING-----")
    with pytest.raises(ConfigurationError) as caught:
        read({"NGINX_TLS_CERTIFICATE_KEY_FILE": str(file)})
    assert "BEGIN" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "text", "read_as"),
    [
        ("NGINX_PROXY_READ_TIMEOUT", "2m", "120s"),
        ("NGINX_PROXY_READ_TIMEOUT", "90", "90s"),
        ("NGINX_PROXY_CONNECT_TIMEOUT", "1500ms", "1500ms"),
        ("NGINX_CLIENT_MAX_BODY_SIZE", "1g", "1024m"),
        ("NGINX_CLIENT_MAX_BODY_SIZE", "1000", "1000"),
        ("NGINX_CLIENT_MAX_BODY_SIZE", "20 MB", "20m"),
        ("NGINX_CLIENT_MAX_BODY_SIZE", "0", "0m"),
        ("NGINX_KEEPALIVE_TIMEOUT", "0", "0s"),
    ],
)
def test_times_and_sizes_become_what_nginx_reads(name: str, text: str, read_as: str) -> None:
    assert str(read({name: text})[name]) == read_as


@pytest.mark.parametrize(
    ("name", "text", "read_as"),
    [
        ("NGINX_UPSTREAM", "app:8000, 10.0.0.2:80 [::1]:9", ["app:8000", "10.0.0.2:80", "[::1]:9"]),
        ("NGINX_UPSTREAM", "unix:/run/app/gunicorn.sock", ["unix:/run/app/gunicorn.sock"]),
        (
            "NGINX_SERVER_NAMES",
            "Example.COM *.example.com .example.org",
            ["example.com", "*.example.com", ".example.org"],
        ),
        ("NGINX_SERVER_NAMES", "ANY", ["any"]),
        ("NGINX_RESOLVER", "127.0.0.11,[fd00::1]:5353", ["127.0.0.11", "[fd00::1]:5353"]),
    ],
)
def test_lists_take_commas_and_spaces(name: str, text: str, read_as: list[str]) -> None:
    assert read({name: text})[name] == read_as


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("NGINX_UPSTREAM", "app"),
        ("NGINX_UPSTREAM", "app:0"),
        ("NGINX_UPSTREAM", "app:8000;"),
        ("NGINX_UPSTREAM", "999.1.1.1:80"),
        ("NGINX_UPSTREAM", "unix:/run/../etc/x y"),
        ("NGINX_SERVER_NAMES", "~^.*$"),
        ("NGINX_SERVER_NAMES", "example.*"),
        ("NGINX_SERVER_NAMES", "a; } server { root /"),
        ("NGINX_SERVER_NAMES", "$host"),
        ("NGINX_STATIC_ROOT", "/srv/../etc"),
        ("NGINX_STATIC_ROOT", "srv/static"),
        ("NGINX_STATIC_MAX_AGE", "500ms"),
        ("NGINX_MAINTENANCE_RETRY_AFTER", "1500ms"),
        ("NGINX_STATIC_URL", "/"),
        ("NGINX_STATIC_URL", "/static"),
        ("NGINX_RATE_LIMIT", "0r/s"),
        ("NGINX_RATE_LIMIT", "10/s"),
        ("NGINX_WORKER_PROCESSES", "0"),
        ("NGINX_REAL_IP_HEADER", "X Forwarded"),
        ("NGINX_LOG_EXCLUDE", '/a" 1; x "'),
        ("NGINX_PROXY_BUFFER_SIZE", "1"),
        ("NGINX_BINARY", "nginx -g"),
        ("NGINX_HSTS_PRELOAD", "on"),
        ("NGINX_TRUSTED_PROXIES", "cloudfare"),
        ("NGINX_PROXY_PROTOCOL", "on"),
        ("NGINX_TLS_CLIENT_CA", "/run/ca.crt"),
        ("NGINX_HEALTH_UPSTREAM", "on"),
        ("NGINX_HEALTH_PATH", "health"),
        ("NGINX_CANONICAL_HOST", "example.com"),
        ("NGINX_CANONICAL_HOST", "*.example.com"),
        ("NGINX_MEDIA_URL", "/media/"),
        ("NGINX_CONTENT_SECURITY_POLICY", 'default-src "self"'),
        ("NGINX_CONTENT_SECURITY_POLICY", "default-src 'self'; report-uri $host"),
        ("NGINX_PERMISSIONS_POLICY", "camera=()\\"),
        ("NGINX_CROSS_ORIGIN_OPENER_POLICY", "same"),
        ("NGINX_STATIC_CORS", "shop.example"),
        ("NGINX_STATIC_CORS", "https://shop.example/path"),
        ("NGINX_STATIC_MAX_AGES", "woff2"),
        ("NGINX_STATIC_MAX_AGES", "woff2=500ms"),
        ("NGINX_LOG_FIELDS", "password"),
        ("NGINX_LOG_FORMAT", "{x}"),
    ],
)
def test_what_nginx_would_misread_is_refused(name: str, text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read({name: text})
    assert [problem.variable for problem in caught.value.problems] == [name]


def test_networks_can_be_named() -> None:
    networks = read({"NGINX_TRUSTED_PROXIES": "Cloudflare, 192.0.2.1"})["NGINX_TRUSTED_PROXIES"]
    assert networks == [*NAMED["cloudflare"].networks, "192.0.2.1/32"]


@pytest.mark.parametrize("name", NAMED)
def test_the_networks_of_a_name_are_networks_and_each_is_there_once(name: str) -> None:
    networks = [ip_network(each) for each in NAMED[name].networks]
    for one in networks:
        assert not any(one.version == other.version and one.subnet_of(other) for other in networks if other is not one)  # type: ignore[arg-type]


@pytest.mark.parametrize("names", ["any", "www.example.com,example.com", "*.example.com", ".example.com"])
def test_the_canonical_host_is_one_that_is_answered(names: str) -> None:
    host = "www.example.com"
    assert read({"NGINX_SERVER_NAMES": names, "NGINX_CANONICAL_HOST": host})["NGINX_CANONICAL_HOST"] == host
