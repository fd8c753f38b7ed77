"""Progress lines and the stage table."""

import io

import pytest

from facap.progress import Progress, StageReport, table


def test_progress_prints_the_first_and_the_last_update_and_few_between():
    out = io.StringIO()
    progress = Progress("crawl", out)
    for done in range(0, 1001):
        progress.update(done, 1000)
    lines = out.getvalue().splitlines()
    assert lines[0].split()[:2] == ["crawl", "0/1,000"]
    assert lines[-1].split()[:2] == ["crawl", "1,000/1,000"]
    assert len(lines) <= 4


def test_rows_of_an_earlier_run_do_not_count_for_the_rate(monkeypatch: pytest.MonkeyPatch):
    now = [100.0]
    monkeypatch.setattr("facap.progress.time.monotonic", lambda: now[0])
    out = io.StringIO()
    progress = Progress("crawl", out)
    progress.update(900, 1000)
    now[0] += 10
    progress.update(950, 1000)
    assert "5.0/s" in out.getvalue()
    assert "10 s left" in out.getvalue()


def test_the_table_shows_rows_failures_by_reason_and_what_was_reused():
    text = table(
        [
            StageReport("crawl", 4_000, 3_900, {"timeout": 40, "http_404": 60}, seconds=12.34),
            StageReport("index", 3_900, 3_900, seconds=99.0, reused=True, note="champion v3"),
        ]
    )
    crawl, index, total = text.splitlines()[2:]
    assert crawl.split() == ["crawl", "4,000", "3,900", "12.3", "60", "http_404,", "40", "timeout"]
    assert "reused" in index
    assert "(champion v3)" in index
    assert total.split() == ["total", "12.3"]


def test_a_report_counts_its_failures():
    assert StageReport("crawl", 3, 1, {"timeout": 1, "http_404": 1}).failed == 2
