"""Names: any text becomes a safe leaf or nothing, and no two samples get the same one."""

import os.path
import random
import unicodedata

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.model.naming import (
    MAX_LEAF_BYTES,
    colliding_hashes,
    default_stem,
    fold,
    fold_hash,
    proposed_stem_and_suffix,
    resolve_collisions,
    safe_leaf,
    split_leaf,
)
from pipeline.records import File, Sample

any_text = st.text(st.characters(exclude_categories=()), max_size=60)
nasty_text = st.lists(
    st.sampled_from([*'abK.-_/\\:*?"<>|%#~ \t\n\0', "..", "%2e", "%2F", "%252e", "CON", "NUL", "com1", "\u202e", "é",
                     "e\u0301", "한", "각", "😀", "\ud800", "\u2028", "\u3000", ".jpg", "ẞ", "İ"]),
    max_size=14,
).map("".join)  # fmt: skip
names = st.one_of(nasty_text, any_text)
DEVICES = {"con", "prn", "aux", "nul", "conin$", "conout$"} | {
    f"{port}{digit}" for port in ("com", "lpt") for digit in "0123456789¹²³"
}


@pytest.mark.parametrize(
    ("name", "leaf"),
    [
        ("street.jpg", "street.jpg"),
        ("/data/2024/street.jpg", "street.jpg"),
        ("C:\\data\\street.jpg", "street.jpg"),
        ("../../etc/passwd", "passwd"),
        ("..\\..\\boot.ini", "boot.ini"),
        ("%2e%2e%2fetc%2fpasswd", "_2e_2e_2fetc_2fpasswd"),
        ("%252e%252e", "_252e_252e"),
        ("50%.jpg", "50%.jpg"),
        ("IMG 001 (2).jpg", "IMG_001_(2).jpg"),
        ("a#1.jpg", "a_1.jpg"),
        ('a:b*c?d"e<f>g|h.jpg', "a_b_c_d_e_f_g_h.jpg"),
        ("CON", "_CON"),
        ("NUL.txt", "_NUL.txt"),
        ("lpt1.tar.gz", "_lpt1.tar.gz"),
        ("CONSOLE.jpg", "CONSOLE.jpg"),
        ("Metadata.JSONL", "_Metadata.JSONL"),
        ("metadata.jsonl.jpg", "metadata.jsonl.jpg"),
        ("readme.md", "_readme.md"),
        ("name. ", "name"),
        ("name.jpg...", "name.jpg"),
        ("name .jpg", "name_.jpg"),
        ("a..jpg", "a.jpg"),
        ("-rf.jpg", "_rf.jpg"),
        (".hidden.jpg", "_hidden.jpg"),
        ("line\nbreak\x1b[2J.jpg", "linebreak[2J.jpg"),
        ("invoice\u202egpj.exe", "invoicegpj.exe"),
        ("사진 1.jpg", "사진_1.jpg"),
        (unicodedata.normalize("NFD", "각도.png"), "각도.png"),
        ("שלום.png", "שלום.png"),
        ("👩‍🚀.png", "👩‍🚀.png"),
        ("no-extension", "no-extension"),
    ],
)  # fmt: skip
def test_a_name_becomes_a_safe_leaf(name, leaf):
    assert safe_leaf(name) == leaf


@pytest.mark.parametrize(
    "name", ["", ".", "..", "...", "/", "a/", "a/..", "..\\", "\0", "\r\n", " ", "\u202e", "-", "\ud800"]
)
def test_a_name_with_nothing_usable_becomes_nothing(name):
    assert safe_leaf(name) == ""


@settings(max_examples=1000)
@given(names)
@example("ẞ" * 300 + ".jpg")
@example("a" + "." * 300 + "jpg")
@example("x." + "e" * 300)
@example("-" * 250 + ".jpg")
def test_a_leaf_is_safe_everywhere_for_any_text(name):
    leaf = safe_leaf(name)
    if not leaf:
        return
    assert not set(leaf) & set('/\\:*?"<>|# \t\r\n\0'), "no separator, nothing Windows forbids, one word for lists"
    assert os.path.basename(os.path.normpath(os.path.join("/export/images", leaf))) == leaf
    assert len(leaf.split()) == 1
    assert all(unicodedata.category(character) not in ("Cc", "Cs", "Zl", "Zp") for character in leaf)
    assert leaf[0] not in "-."
    assert leaf[-1] not in ". "
    assert leaf.split(".")[0].lower() not in DEVICES
    assert len(leaf.encode()) <= MAX_LEAF_BYTES
    assert unicodedata.is_normalized("NFC", leaf)
    stem, suffix = split_leaf(leaf)
    assert stem
    assert stem + suffix == leaf
    assert (stem, suffix) == os.path.splitext(leaf), "readers of datasets find the label file by this rule"


@settings(max_examples=1000)
@given(names)
def test_a_safe_leaf_stays_as_it_is(name):
    assert safe_leaf(safe_leaf(name)) == safe_leaf(name)


@pytest.mark.parametrize("character", ["a", "é", "한", "😀"])
@pytest.mark.parametrize("suffix", ["", ".jpg", ".tiff"])
def test_a_long_name_is_cut_between_characters_and_keeps_its_extension(character, suffix):
    leaf = safe_leaf(character * 300 + suffix)
    stem = leaf.removesuffix(suffix)
    assert leaf.endswith(suffix)
    assert set(stem) == {character}
    assert MAX_LEAF_BYTES - 3 <= len(leaf.encode()) <= MAX_LEAF_BYTES


@given(names)
def test_folding_again_changes_nothing(text):
    assert fold(fold(text)) == fold(text)
    assert fold_hash(fold(text)) == fold_hash(text)


@pytest.mark.parametrize(
    ("one", "other"),
    [("IMG", "img"), ("각도", unicodedata.normalize("NFD", "각도")), ("straße", "STRASSE"), ("Å", "å")],
)
def test_stems_that_some_disk_takes_for_the_same_fold_alike(one, other):
    assert fold(one) == fold(other)
    assert fold_hash(one) == fold_hash(other)


def test_the_hash_of_a_stem_is_the_same_in_every_process_and_release():
    assert fold_hash("IMG_0001") == 2972718096896277400


def sample(name=None, *, record_id=7, ordinal=0, media="image_1"):
    file = None if name is None else File(media, name)
    return Sample(record_id, ordinal, media, "image", None, None, file, ())


def test_the_proposed_name_is_the_original_or_the_id():
    assert proposed_stem_and_suffix(sample("a b.JPG"), "original") == ("a_b", ".JPG")
    assert proposed_stem_and_suffix(sample("a b.JPG"), "id") == ("7", ".JPG")
    assert proposed_stem_and_suffix(sample("x.png", ordinal=1, media="image_2"), "id") == ("7_image_2", ".png")


def test_a_sample_without_file_or_usable_name_is_called_by_its_id():
    assert proposed_stem_and_suffix(sample(), "original") == ("7", "")
    assert proposed_stem_and_suffix(sample(".."), "original") == ("7", "")
    assert proposed_stem_and_suffix(sample(ordinal=1, media="image_2"), "original") == ("7_image_2", "")


def test_the_default_stem_is_safe_whatever_the_media_is_called():
    assert default_stem(12, 0, "../x") == "12"
    assert default_stem(12, 1, "../x.y") == "12_x_y"
    assert default_stem(12, 3, "..") == "12_3"


def test_only_hashes_that_occur_twice_collide():
    hashes = np.array([9, 1, 5, 9, 2, 5, 9], dtype=np.uint64)
    assert colliding_hashes(hashes).tolist() == [5, 9]
    assert colliding_hashes(np.array([], dtype=np.uint64)).tolist() == []


def test_the_lowest_record_keeps_the_name():
    claims = [("img", 30, 0), ("IMG", 10, 0), ("Img", 20, 0), ("other", 5, 0)]
    assert resolve_collisions(claims) == {
        (10, 0): "IMG",
        (20, 0): "Img__20",
        (30, 0): "img__30",
        (5, 0): "other",
    }


def test_samples_of_one_record_are_numbered():
    claims = [("a", 1, 0), ("a", 1, 1), ("a", 1, 2)]
    assert resolve_collisions(claims) == {(1, 0): "a", (1, 1): "a__1", (1, 2): "a__1_2"}


def test_a_new_name_avoids_names_others_asked_for():
    claims = [("a", 1, 0), ("a", 2, 0), ("A__2", 9, 0)]
    assert resolve_collisions(claims)[2, 0] == "a__2_2"
    others = {"a__2", "a__2_2"}
    assert resolve_collisions(claims[:2], others.__contains__)[2, 0] == "a__2_3"


stems = st.sampled_from(["a", "A", "a__1", "a__2", "A__2_2", "b", "한", unicodedata.normalize("NFD", "한")])
claim_sets = st.dictionaries(st.tuples(st.integers(1, 4), st.integers(0, 2)), stems, max_size=12)


@settings(max_examples=300)
@given(claim_sets, st.randoms(use_true_random=False))
def test_resolved_names_are_unique_and_do_not_depend_on_the_order(wanted, order):
    claims = [(stem, *key) for key, stem in wanted.items()]
    resolved = resolve_collisions(claims)
    assert resolved.keys() == wanted.keys()
    assert len({fold(stem) for stem in resolved.values()}) == len(claims)
    order.shuffle(claims)
    assert resolve_collisions(claims) == resolved


@settings(max_examples=300)
@given(claim_sets)
def test_resolving_only_what_collides_gives_the_same_names(wanted):
    hashes = np.array([fold_hash(stem) for stem in wanted.values()], dtype=np.uint64)
    colliding = set(colliding_hashes(hashes).tolist())
    all_hashes = set(hashes.tolist())
    some = [(stem, *key) for key, stem in wanted.items() if fold_hash(stem) in colliding]
    resolved = dict(wanted) | resolve_collisions(some, lambda folded: fold_hash(folded) in all_hashes)
    assert resolved == resolve_collisions((stem, *key) for key, stem in wanted.items())


def test_a_hundred_thousand_equal_names_are_resolved_quickly():
    claims = [("img", record, 0) for record in range(100_000)]
    random.Random(1).shuffle(claims)
    resolved = resolve_collisions(claims)
    assert len(set(resolved.values())) == 100_000
