"""What consumers say is explained: ``ask`` refuses any other line of theirs that looks like trouble."""

from consumers.explained import quoted, unexplained


def test_every_entry_is_quoted_by_its_page():
    assert [words for words, is_there in quoted().items() if not is_there] == []


def test_trouble_that_is_not_in_the_list_is_noticed():
    new = "WARNING a.jpg: non-normalized coordinates"
    old = "WARNING b.jpg: ignoring corrupt image/label: image file is truncated"
    progress = "train: Scanning labels... 45 images, 0 backgrounds, 1 corrupt: 100% 45/45"
    assert unexplained([new, old, progress, "creating index..."]) == [new]
