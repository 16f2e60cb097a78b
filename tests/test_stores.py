"""The helpers of tests that write to object stores: the servers are real, and places behave alike."""

import pytest

from exporting import digest
from pipeline.errors import StorageError
from stores import READER, Key


def test_a_place_is_read_back_as_files(place, tmp_path):
    storage = place.child("deep").storage()
    storage.write("a/b.txt", b"one")
    assert (place.local(tmp_path) / "deep/a/b.txt").read_bytes() == b"one"
    assert place.child("deep").local(tmp_path).joinpath("a/b.txt").read_bytes() == b"one"


def test_equal_trees_have_equal_digests_wherever_they_are(place, tmp_path):
    place.storage().write("x/y", b"1")
    assert place.digest() == digest(place.local(tmp_path)) == digest(place)
    before = place.digest()
    place.storage().write("x/z", b"2")
    assert place.digest() != before


def test_the_s3_server_refuses_wrong_secrets_and_writes_of_readers(s3_server):
    place = s3_server.place()
    place.storage().write("x", b"1")
    name = place.url.rpartition("/")[2]
    for key in (READER, Key("nobody", "canary"), Key("test-full-access", "canary-wrong")):
        with pytest.raises(StorageError):
            s3_server.place(name, key=key).storage().write("x", b"2")
    assert s3_server.place(name, key=READER).storage().read("x") == b"1"
