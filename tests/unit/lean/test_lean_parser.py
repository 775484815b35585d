"""lean's parser is Gunicorn's: what one refuses the other refuses, what both accept reads the same."""

from __future__ import annotations

import pytest
from lean_corpus import ACCEPTED, CLOSED, CORPUS, INCOMPLETE, REFUSED
from lean_differential import STRANGER, TRUSTED, UNIX, assert_same, make_config

CONFIG = make_config()


def test_the_corpus_is_large_and_its_names_are_unique():
    assert len(CORPUS) == len(ACCEPTED) + len(CLOSED) + len(INCOMPLETE) + len(REFUSED) >= 250


@pytest.mark.parametrize("name", CORPUS)
def test_both_parsers_agree_whole_and_byte_by_byte(name):
    outcome = assert_same(CORPUS[name], CONFIG)
    if name in ACCEPTED:
        assert (outcome.end, bool(outcome.requests)) == ("end", True)
    elif name in CLOSED:
        assert (outcome.end, bool(outcome.requests)) == ("close", True)
    elif name in INCOMPLETE:
        assert outcome.end == "incomplete"
    else:
        assert outcome.end in ("400", "414", "417", "431", "501")
