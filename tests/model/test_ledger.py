"""The books add up in any order, and a run whose books do not balance cannot be published."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import LedgerError
from pipeline.model.ledger import Count, FormatCount, Ledger, merge_ledgers

reasons = st.dictionaries(st.sampled_from(["A", "B", "C"]), st.integers(1, 5), max_size=3)
number = st.integers(0, 9)
count = st.builds(Count, number, number, reasons, reasons, reasons)
format_count = st.builds(FormatCount, count, count, st.dictionaries(st.sampled_from(["box", "mask"]), reasons), number)
ledger = st.builds(
    Ledger, count, count, count, st.dictionaries(st.sampled_from(["coco", "yolo"]), format_count), number, number
)


def same(left, right):
    encode = msgspec.json.Encoder(order="deterministic").encode
    return encode(left) == encode(right)


@given(ledger, ledger, ledger)
def test_ledgers_add_up_in_any_order_and_grouping(a, b, c):
    assert same(merge_ledgers([a, b, c]), merge_ledgers([merge_ledgers([c, b]), a]))


@given(ledger, ledger)
def test_adding_changes_no_ledger(a, b):
    before = msgspec.json.encode([a, b])
    merge_ledgers([a, b])
    assert msgspec.json.encode([a, b]) == before


def test_books_that_balance_pass():
    balanced = Count(seen=6, written=3, skipped={"A": 1}, failed={"B": 2}, lossy={"C": 3})
    Ledger(records=balanced, formats={"coco": FormatCount(annotations=balanced)}).check()


def test_books_that_do_not_balance_are_named_with_their_numbers():
    wrong = Ledger(formats={"coco": FormatCount(annotations=Count(seen=6, written=5))})
    with pytest.raises(LedgerError, match="coco annotations do not balance: seen 6, written 5"):
        wrong.check()


def test_counts_do_not_share_their_reasons():
    first, second = Count(), Count()
    first.fail("A")
    first.skip("B")
    first.lose("C")
    assert second == Count()
