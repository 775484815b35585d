"""The benchmark's own arithmetic: what wrk printed, medians, ratios, aims, and where they are written."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import aims, document, load, plot, results
from bench.load import Sample
from bench.peers import every
from bench.peers.model import OURS
from bench.results import Results
from bench.summary import ratio, summarize
from bench.workloads import BY_NAME, cells

PRINTED = """Running 1s test @ http://127.0.0.1:1/
  Thread Stats   Avg      Stdev     Max   +/- Stdev

RESULT {"requests": 10, "seconds": 2.0, "bytes": 1000, "p50_ms": 1.5, "p99_ms": 9.0, "errors": {"status": 4}}
"""
MACHINE = {
    "cpu": "CPU",
    "cpus": 2,
    "memory_bytes": 2**30,
    "kernel": "6",
    "python": "3",
    "nginx": "1",
    "caddy": "",
    "packages": {},
    "commit": "abc",
}
ABOUT = {"date": "d", "repeats": 3, "seconds": 1, "minutes": 1.0, "load_before": [0.0], "load_after": [0.0]}


def sample(peer: str, requests: int, repeat: int = 0, **more: object) -> Sample:
    given = {"seconds": 1.0, "bytes": 100 * requests, "p50_ms": 1.0, "p99_ms": 2.0} | more
    return Sample(peer, "json", 64, repeat, requests, **given)  # type: ignore[arg-type]


def made(samples: list[Sample]) -> Results:
    names = dict.fromkeys(each.peer for each in samples)
    peers = {name: {"title": name, "kind": OURS, "source": "s", "configuration": "c"} for name in names}
    return Results(ABOUT | {"machine": MACHINE}, peers, samples, {"json": [5.0, 7.0, 6.0]})


def test_an_answer_with_a_bad_status_does_not_count_into_the_rate() -> None:
    found = Sample("a", "json", 64, 0, **load.parse(PRINTED))
    assert found.rate == 3
    assert found.p99_ms == 9


def test_output_of_wrk_without_a_result_is_an_error() -> None:
    with pytest.raises(ValueError, match="unable to connect"):
        load.parse("unable to connect to 127.0.0.1:1")


def test_a_ratio_compares_within_a_repeat_so_a_disturbed_repeat_does_not_shift_it() -> None:
    ours = [sample("ours", 100, 0), sample("ours", 10, 1), sample("ours", 100, 2)]
    peer = [sample("peer", 50, 0), sample("peer", 5, 1), sample("peer", 50, 2)]
    assert ratio(peer, ours) == 0.5
    assert ratio(peer, []) is None
    assert ratio(peer, [sample("ours", 0, 0)]) is None


def test_figures_are_medians_with_their_spread_and_the_highest_memory() -> None:
    group = [
        sample("ours", 100, 0, cpu_seconds=0.1, memory=5),
        sample("ours", 300, 1, cpu_seconds=0.6, memory=9, errors={"read": 2}),
        sample("ours", 200, 2, cpu_seconds=0.6, memory=7, errors={"read": 1}),
    ]
    found = summarize(group, "ours")["ours", "json", 64]
    assert (found.rate, found.lowest, found.highest, found.of_ours) == (200, 100, 300, 1)
    assert found.cpu_per_1000 == 2
    assert (found.memory, found.errors, found.bytes_each) == (9, 3, 100)


def test_a_peer_that_answers_nothing_has_a_rate_of_zero_and_no_cpu_figure() -> None:
    found = summarize([sample("dead", 0)], "ours")["dead", "json", 64]
    assert (found.rate, found.cpu_per_1000, found.of_ours) == (0, None, None)


def test_results_come_back_from_their_file_as_they_were(tmp_path: Path) -> None:
    measured = made([sample("greendock", 10, errors={"read": 1}), sample("tutorial", 5)])
    measured.write(tmp_path / "run.json")
    assert results.read(tmp_path / "run.json") == measured


def test_an_aim_that_is_missed_says_by_how_much() -> None:
    measured = made([sample("greendock", 90), sample("greendock-direct", 100), sample("tutorial", 80)])
    found = {aim.text: (round(aim.figure, 3), aim.met) for aim in aims.check(measured)}
    assert found == {
        "Flask JSON: ahead of every proxied Gunicorn (the best of them: tutorial)": (1.125, True),
        "Flask JSON: 95 % of the same Gunicorn without the proxy": (0.9, False),
    }
    assert "| 0.90 | 0.95 | missed by 0.05 |" in document.blocks(measured)["aims"]


def test_a_page_keeps_its_prose_and_gets_its_blocks(tmp_path: Path) -> None:
    page = tmp_path / "performance.md"
    page.write_text(
        "Words.\n<!-- bench: overview -->\nold\n<!-- end -->\nMore words.\n<!-- bench: cost -->\n<!-- end -->\n"
    )
    measured = made([sample("greendock", 1000), sample("tutorial", 500, errors={"read": 100})])
    for _ in range(2):  # writing again changes nothing
        document.write(measured, [page])
    text = page.read_text()
    assert text.startswith("Words.\n<!-- bench: overview -->\n\n| requests/s")
    assert "| tutorial | 500 (0.50)* |" in text
    assert "old" not in text
    assert text.endswith("More words.\n<!-- bench: cost -->\n<!-- end -->\n")
    assert (tmp_path / "performance.svg").read_text().count("<rect") == 3  # the ground and two bars


def test_a_plot_escapes_what_it_is_given() -> None:
    figures = summarize([sample("a", 10)], "a")["a", "json", 64]
    assert "A &lt; B &amp; C" in plot.svg({"A < B & C": [("a", OURS, figures)]})


def test_every_block_of_the_pages_is_one_that_is_generated() -> None:
    names = [name for page in document.PAGES for name in document.BLOCK.findall(page.read_text())]
    assert set(names) == {*document.blocks(made([sample("greendock", 1)])), "containers", "cost", "growth"}


def test_every_peer_names_its_source_and_runs_in_some_cell() -> None:
    for peer in every():
        assert peer.source
        assert peer.configuration
        assert any(peer.runs(cell.workload) for cell in cells("default"))
        assert peer.workloads <= BY_NAME.keys()


def test_the_newest_run_is_not_one_in_containers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "FOLDER", tmp_path)
    for name in ("run-2026-01-01-0000", "run-2026-02-01-0000", "run-containers-2026-03-01-0000"):
        (tmp_path / f"{name}.json").touch()
    assert results.newest("run") == tmp_path / "run-2026-02-01-0000.json"
    assert results.newest("run-containers") == tmp_path / "run-containers-2026-03-01-0000.json"
    assert results.newest("growth") is None


def test_a_run_in_containers_rewrites_one_block_and_no_other(tmp_path: Path) -> None:
    page = tmp_path / "performance.md"
    page.write_text("<!-- bench: aims -->\nold\n<!-- end -->\n<!-- bench: containers -->\n<!-- end -->\n")
    document.insert([page], {"containers": document.short(made([sample("greendock", 90), sample("tutorial", 80)]))})
    kept, _, written = page.read_text().partition("<!-- bench: containers -->")
    assert kept == "<!-- bench: aims -->\nold\n<!-- end -->\n"
    assert "| tutorial | 80 (0.89) |" in written
    assert "| Flask JSON: ahead of every proxied Gunicorn (the best of them: tutorial) | 1.12 | 1.00 | yes |" in written
