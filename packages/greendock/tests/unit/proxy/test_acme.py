"""How often the service ``acme`` asks, and what it says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest

from greendock.env.problems import ConfigurationError
from greendock.proxy import acme
from greendock.proxy.configuration import read
from greendock.proxy.render import certificate_paths, is_self_signed, render

NAMED = {"NGINX_TLS": "acme", "NGINX_SERVER_NAMES": "example.com,www.example.com"}
HOUR = 3600


def test_failures_stay_below_the_authority_s_limit() -> None:
    """Five failed validations of a name in an hour."""
    starts = list(accumulate(acme.pause(failures) for failures in range(1, 30)))
    for start in starts:
        assert sum(start <= other < start + HOUR for other in [0.0, *starts]) < 5
    assert acme.pause(29) == acme.pause(0) == 12 * HOUR


def test_the_pause_grows_with_failures_and_is_short_again_after_a_success(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outcomes: Iterator[bool | Exception] = iter(
        [acme.AcmeError("no"), acme.AcmeError("no"), True, False, OSError("disk full"), SystemExit(0)]  # type: ignore[list-item]
    )

    def obtain(_: Mapping[str, Any]) -> bool:
        outcome = next(outcomes)
        if isinstance(outcome, bool):
            return outcome
        raise outcome

    waited: list[float] = []
    with pytest.raises(SystemExit):
        acme.keep(read(NAMED | {"NGINX_ACME_DIR": str(tmp_path)}), obtain, waited.append)
    assert waited == [300, 600, 12 * HOUR, 12 * HOUR, 300]
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(":")[1].partition(" for ")[0] for line in lines] == [
        " no new certificate",
        " no new certificate",
        " a certificate",
        " no new certificate",
    ]
    assert "Nginx has a self-signed one; the next try is in 5 minutes" in lines[0]


@pytest.mark.parametrize(
    ("output", "said"),
    [
        (
            "Certbot failed to authenticate some domains (authenticator: webroot).\n"
            "  Domain: example.com\n  Type:   connection\n  Detail: 203.0.113.7: Timeout during connect\n\n"
            "  Identifier: www.example.com\n  Type:   dns\n  Detail: NXDOMAIN\n",
            "example.com: 203.0.113.7: Timeout during connect; www.example.com: NXDOMAIN",
        ),
        (
            "Saving debug log to x\nAn unexpected error occurred:\ntoo many\trequests\nAsk for help\n",
            "too many requests",
        ),
        ("Saving debug log to x\nThe server had no words\n", "The server had no words"),
        ("", "certbot says nothing"),
        ("y" * 1000, "y" * 400 + "…"),
    ],
)
def test_a_failure_is_told_on_one_line(output: str, said: str) -> None:
    assert acme.reason(output) == said


@pytest.mark.parametrize("names", ["local", "any", "*.example.com", ".example.com", "example.com,192.0.2.1"])
def test_names_that_no_challenge_can_prove_are_refused(names: str) -> None:
    with pytest.raises(ConfigurationError, match=r"NGINX_SERVER_NAMES=.*with NGINX_TLS=acme"):
        read(NAMED | {"NGINX_SERVER_NAMES": names})


def test_a_folder_for_a_client_of_one_s_own_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"NGINX_ACME_WEBROOT=.*only with NGINX_TLS=on"):
        read(NAMED | {"NGINX_ACME_WEBROOT": "/srv/acme"})


def test_a_self_signed_certificate_stands_in_until_there_is_one(tmp_path: Path) -> None:
    values = read(NAMED | {"NGINX_ACME_DIR": str(tmp_path)})
    assert is_self_signed(values)
    (tmp_path / "tls.pem").touch()
    assert certificate_paths(values) == (tmp_path / "tls.pem", tmp_path / "tls.pem")
    assert "Strict-Transport-Security" in render(values)
    assert f"alias {tmp_path}/webroot/.well-known/acme-challenge/;" in render(values)
