"""Progress is told in lines for a log and on one screen for a terminal; neither can be driven by names in the data."""

import io
import threading
import time

import pytest
from rich.console import Console

from pipeline import progress
from pipeline.progress import (
    STAGES,
    Lines,
    Reporter,
    Silence,
    Tally,
    Whole,
    clock,
    describe,
    printable,
    ticker,
    trouble,
)  # fmt: skip
from pipeline.progress.screen import Screen, picture


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


def test_what_comes_next_is_told_to_those_who_ask():
    lines, told = [], []
    for listener in (Lines(lines.append, tell=told.append), Lines(lines.append), Silence()):
        Reporter(listener).step("listing https://store/a?X-Amz-Signature=0123")
    assert told == ["listing https://store/a …"]
    assert lines == []


def drawn(listener_of, width=120):
    screen = io.StringIO()
    play(listener_of(Console(file=screen, force_terminal=True, width=width)))
    return screen.getvalue()


def test_the_screen_shows_stages_rate_and_failures():
    text = drawn(Screen)
    for part in ("extract", "render", "publish", "300 of 300", "/s", "MB/s", "4 failures", "elapsed", "done [/bold]"):
        assert part in text


def test_the_old_name_of_the_screen_still_works():
    with pytest.warns(DeprecationWarning, match="Screen"):
        old = progress.Bar
    assert "300 of 300" in drawn(old)
    with pytest.raises(AttributeError):
        progress.Nothing  # noqa: B018  the access is what is tested


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


def begun(stage, seconds, done, total, *, ended=False, **more):
    """A stage that began so many seconds ago, and has ended just now or goes on."""
    now = time.monotonic()
    return Tally(stage, "records", total, done, started=now - seconds, ended=now if ended else None, **more)


def whole(*tallies, records=1000):
    run = Whole()
    run.records = records
    run.stages = {tally.stage: tally for tally in tallies}
    return run


def test_the_time_to_go_is_that_of_all_stages_and_says_so_when_it_is_a_guess():
    """Half of extract took 100 s: the other half takes as long, render half of all that, the rest 8 % of it."""
    seconds, is_guess = whole(begun("extract", 100, 500, 1000)).to_go()
    assert seconds == pytest.approx(100 + 200 * (0.01 + 0.5 + 0.05 + 0.02), rel=0.01)
    assert is_guess


def test_originals_make_render_the_longest_stage():
    reporter = Reporter(Silence())
    reporter.expect(1000, originals=True)
    reporter.whole.stages["extract"] = begun("extract", 100, 500, 1000)
    seconds, _ = reporter.whole.to_go()
    assert seconds == pytest.approx(100 + 200 * (0.01 + 3.0 + 0.05 + 0.02), rel=0.01)


def test_later_stages_are_timed_by_what_was_measured_last():
    """A record of render took 1 s, which is 0.5 shares: merge, of 0.05 shares, takes 0.1 s for each."""
    run = whole(begun("extract", 10, 1000, 1000, ended=True), begun("render", 500, 500, 1000))
    seconds, is_guess = run.to_go()
    assert seconds == pytest.approx(500 + 2000 * (0.05 + 0.02), rel=0.01)
    assert is_guess


def test_a_stage_that_has_just_begun_is_timed_by_the_one_before_it():
    run = whole(begun("extract", 100, 1000, 1000, ended=True), begun("render", 0.01, 0, 1000))
    assert run.to_go()[0] == pytest.approx(100 * (0.5 + 0.05 + 0.02), rel=0.01)


def test_the_last_stage_is_no_guess_once_it_is_measured():
    extract = begun("extract", 100, 1000, 1000, ended=True)
    assert whole(extract, begun("publish", 10, 1, 2)).to_go() == (pytest.approx(10, rel=0.01), False)
    assert whole(extract, begun("publish", 10, 2, 2, ended=True)).to_go() == (0.0, False)


def test_a_merge_is_measured_by_bytes_because_files_differ_in_size():
    """One of ten files is joined, but it has nine tenths of the bytes."""
    tally = begun("merge", 90, 1, 10, bytes=900, total_bytes=1000)
    assert tally.remaining == pytest.approx(10, rel=0.01)


def test_the_rate_that_counts_is_that_of_the_last_minutes():
    """It was 100 records per second for an hour, then 1 for two minutes."""
    tally = begun("extract", 3720, 360_120, 361_120)
    tally.marks.append((time.monotonic() - 120, 360_000.0))
    assert tally.remaining == pytest.approx(1000, rel=0.01)


def test_nothing_is_promised_before_anything_is_measured():
    assert Whole().to_go() is None
    assert whole(begun("plan", 10, 500, 1000)).to_go() is None
    assert whole(begun("extract", 10, 0, 1000)).to_go() is None
    assert whole(begun("extract", 10, 900, 1000, resumed=900)).to_go() is None


def test_a_retry_has_stages_of_its_own_before_the_usual_ones():
    run = whole(begun("retry", 10, 5, 10), records=0)
    assert run.to_go() == (pytest.approx(10, rel=0.01), True)
    assert [stage.stage for stage in run.snapshot().stages] == ["retry", "catalog", "render", "merge", "publish"]


def test_a_shard_under_way_counts_with_what_is_done_of_it():
    seen = []

    class Seen(Silence):
        def update(self, tally):
            seen.append(tally.done)

    reporter = Reporter(Seen())
    reporter.begin("extract", 40)
    with reporter.following():
        first, second = ticker(0, 20), ticker(1, 20)
        time.sleep(0.11)  # the reporter is told ten times a second at most
        first(0.5)
        first(0.55)
        second(0.25)
        reporter.advance(20, shard=0)
        ticker(1, 20)  # it failed, and is begun again
    reporter.end()
    assert seen == [0, 0, 0, 10, 15, 25, 20]


def test_without_a_reporter_nobody_is_told():
    ticker(0, 10)(0.5)
    trouble("a worker was lost", lost=True)  # raises nothing


def test_retries_and_lost_workers_are_counted_and_the_last_ones_named():
    reporter = Reporter(Silence())
    with reporter.following():
        for number in range(7):
            trouble(f"https://host/{number}?signature=abc: HTTP 503", lost=number == 6)
    reporter.advance(1, retries=3, reasons={"TOO_LARGE": 1})
    found = reporter.whole.snapshot()
    assert (found.retries, found.lost_workers, found.failures) == (10, 1, {"TOO_LARGE": 1})
    assert len(found.problems) == 5
    assert found.problems[-1].startswith("https://host/6")
    assert "abc" not in found.problems[-1]


def test_several_threads_may_report():
    reporter = Reporter(Silence())
    reporter.begin("extract", 8000)

    def work(shard):
        for number in range(1000):
            reporter.within(shard, number)
            reporter.whole.snapshot()
        reporter.advance(1000, 10, 1, shard=shard, reasons={"A": 1})

    threads = [threading.Thread(target=work, args=(shard,)) for shard in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    reporter.end()
    extract = reporter.whole.snapshot().stages[0]
    assert (extract.done, extract.bytes, extract.failures) == (8000, 80, 8)


@pytest.mark.parametrize("width", [40, 80, 120])
def test_no_line_of_the_picture_is_wider_than_the_terminal(width):
    run = whole(
        begun("plan", 1, 10**7, 10**7, ended=True),
        begun("extract", 3600, 4_000_000, 10**7, bytes=10**12, failures=12_345),
        records=10**7,
    )
    run.reasons.update({"PAYLOAD_UNAVAILABLE": 12_000, "TOO_LARGE": 345})
    run.retries = 7
    console = Console(file=io.StringIO(), width=width, force_terminal=True, no_color=True)
    console.print(picture(run.snapshot(), width))
    lines = console.file.getvalue().splitlines()
    assert max(map(len, (line.replace("\x1b[2m", "").replace("\x1b[0m", "") for line in lines))) <= width
    if width >= 80:
        assert "4,000,000 of 10,000,000" in lines[1]
        assert "12,345 failures" in lines[-1]
    assert len(lines) == len(STAGES)  # all but the catalog, and the line about the run


def test_times_are_those_of_a_clock():
    assert [clock(0), clock(59.6), clock(3723)] == ["0:00", "1:00", "1:02:03"]
