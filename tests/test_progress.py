"""Progress is told in lines for a log and in a live bar for a terminal; neither can be driven by names in the data."""

import io

import pytest
from rich.console import Console

from pipeline.progress import Bar, Lines, Reporter, Silence, Tally, describe, printable


def play(listener):
    reporter = Reporter(listener)
    reporter.begin("extract", 300, resumed=100)
    for _ in range(4):
        reporter.advance(50, 1_000_000, 1)
    reporter.end()
    reporter.message("done [/bold]")
    reporter.close()
    return reporter


def test_lines_are_one_for_each_stage():
    lines = []
    play(Lines(lines.append, seconds=3600))
    assert len(lines) == 2
    assert lines[0].startswith("extract: 300 of 300 records, ")
    assert "4 failures" in lines[0]
    assert lines[1] == "done [/bold]"


def test_lines_come_in_between_when_a_stage_takes_long():
    lines = []
    play(Lines(lines.append, seconds=0))
    assert len(lines) == 6
    assert lines[0].startswith("extract: 150 of 300 records, ")
    assert lines[0].endswith(" to go")


def test_the_bar_shows_stage_rate_and_failures():
    screen = io.StringIO()
    play(Bar(Console(file=screen, force_terminal=True, width=120)))
    text = screen.getvalue()
    for part in ("extract", "300 of 300 records", "/s", "MB/s", "4 failures", "done [/bold]"):
        assert part in text


def test_silence_says_nothing(capsys):
    play(Silence())
    assert capsys.readouterr().out == ""


def test_the_reporter_keeps_the_seconds_of_each_stage():
    assert list(play(Silence()).seconds) == ["extract"]


def test_what_an_earlier_run_did_is_not_counted_into_the_rate():
    tally = Tally("extract", "records", 1000, done=900, resumed=900)
    assert tally.rate == 0
    assert tally.remaining is None
    assert describe(tally) == "extract: 900 of 1,000 records"
    tally.done = 950
    assert tally.rate == pytest.approx(50 / tally.seconds, rel=0.5)
    assert tally.remaining == pytest.approx(tally.seconds, rel=0.5)


def test_control_characters_never_reach_the_terminal():
    assert printable("a\x1b[2Jb\nc") == "a�[2Jb\nc"
