"""The conformance suite: what every format must do. A format's test class inherits it and sets ``format``."""

import json
import os
import pickle
import random
import re
import subprocess
import sys
import unicodedata
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

import msgspec
import yaml

from pipeline.formats.output_paths import BESIDE_IMAGES, RESERVED_NAMES
from pipeline.formats.protocol import Entry, Format
from pipeline.formats.testing.joining import Files, digest_files, find_losses, join_samples, join_shards
from pipeline.formats.testing.sample_set import catalog_of, empty_catalog, samples
from pipeline.model.catalog import Catalog
from pipeline.records import NumberedSample

_UNSAFE = re.compile(r"[\x00-\x1f\x7f\\:*?\"<>|]")
_NOT_FINITE = re.compile(r"(?<!\w)[-+]?(nan|inf|infinity)(?!\w)", re.IGNORECASE)
_DIGEST_IN_PROCESS = """
import pickle, sys
from pipeline.formats.testing import digest_files, join_samples
print(digest_files(join_samples(*pickle.load(sys.stdin.buffer))))
"""


def strict_json(data: bytes | str) -> Any:
    """Return the JSON value. Raises AssertionError for ``NaN`` and ``Infinity``, which are not JSON."""
    return json.loads(data, parse_constant=lambda name: _refuse(f"{name} is not JSON"))


def _refuse(message: str) -> None:
    raise AssertionError(message)


def _fold_path(path: str) -> str:
    return unicodedata.normalize("NFC", path).casefold()


class FormatCases:
    """What every format must do. Override :meth:`check` and :meth:`written_annotations` to check more.

    ::

        class TestMyFormat(FormatCases):
            format = MyFormat()
    """

    format: Format

    def samples(self) -> list[NumberedSample]:
        """Return the samples to render."""
        return samples()

    def catalog(self) -> Catalog:
        """Return the catalog of the samples."""
        return catalog_of(self.samples())

    def tree(self) -> Files:
        """Return the files that the format makes of the samples."""
        return join_samples(self.format, self.samples(), self.catalog())

    def check(self, tree: Files) -> None:
        """Raise AssertionError for files that readers could not load."""
        for path, data in tree.items():
            kind = PurePosixPath(path).suffix
            if kind == ".json":
                strict_json(data)
            elif kind == ".jsonl":
                for line in data.splitlines():
                    strict_json(line)
            elif kind in (".yaml", ".yml"):
                yaml.safe_load(data)
            if kind in (".txt", ".csv", ".xml", ".yaml", ".yml"):
                assert not _NOT_FINITE.search(data.decode()), f"{path} holds a number that is none"

    def written_annotations(self, tree: Files) -> Mapping[int, int] | None:  # noqa: ARG002  # for subclasses
        """Return how many annotations the files hold of each sample, by image id; None when that is not known."""
        return None

    def test_is_a_format(self) -> None:
        assert isinstance(self.format, Format)
        assert re.fullmatch(r"[a-z][a-z0-9_]*", self.format.name)
        assert isinstance(self.format.needs_payload, bool)

    def test_gives_the_same_bytes_twice(self) -> None:
        assert self.tree() == self.tree()

    def test_gives_the_same_bytes_after_pickling(self) -> None:
        copy = pickle.loads(pickle.dumps(self.format))
        assert copy == self.format
        assert join_samples(copy, self.samples(), self.catalog()) == self.tree()

    def test_gives_the_same_bytes_in_another_process(self) -> None:
        paths = os.pathsep.join(path or os.getcwd() for path in sys.path)
        finished = subprocess.run(
            [sys.executable, "-c", _DIGEST_IN_PROCESS],
            input=pickle.dumps((self.format, self.samples(), self.catalog())),
            env={**os.environ, "PYTHONPATH": paths, "PYTHONHASHSEED": "4711"},
            capture_output=True,
            check=False,
        )
        assert finished.returncode == 0, finished.stderr.decode()
        assert finished.stdout.decode().strip() == digest_files(self.tree())

    def test_leaves_its_input_alone(self) -> None:
        numbered, catalog = self.samples(), self.catalog()
        before = msgspec.msgpack.encode((numbered, catalog))
        join_samples(self.format, numbered, catalog)
        assert msgspec.msgpack.encode((numbered, catalog)) == before

    def test_files_are_loadable(self) -> None:
        tree = self.tree()
        assert tree
        self.check(tree)

    def test_an_export_without_samples_is_loadable(self) -> None:
        self.check(join_samples(self.format, [], empty_catalog()))

    def test_an_export_without_samples_but_with_classes_is_loadable(self) -> None:
        self.check(join_samples(self.format, [], catalog_of([])))

    def test_an_export_of_which_nothing_is_usable_is_loadable(self) -> None:
        numbered = [sample for sample in self.samples() if not sample.sample.has_image]
        self.check(join_samples(self.format, numbered, catalog_of(numbered)))

    def test_paths_are_relative_and_safe_on_every_disk(self) -> None:
        for path in self.tree():
            assert path == str(PurePosixPath(path)), path
            for part in path.split("/"):
                assert part not in ("", ".", ".."), path
                assert not _UNSAFE.search(part), path
                assert part == part.strip(" "), path
                assert not part.endswith("."), path
                assert len(part.encode()) <= 255, path

    def test_paths_differ_on_case_blind_disks(self) -> None:
        paths = list(self.tree())
        assert len({_fold_path(path) for path in paths}) == len(paths)

    def test_paths_are_not_in_folders_of_the_export_itself(self) -> None:
        joined = {manifest.path for manifest in self.format.manifests(self.catalog())}
        beside = {path for path in joined if BESIDE_IMAGES.fullmatch(path)}
        assert not [path for path in self.tree() if path not in beside and path.split("/")[0] in RESERVED_NAMES]

    def test_any_cut_into_shards_gives_the_same_bytes(self) -> None:
        numbered, catalog = self.samples(), self.catalog()
        chance = random.Random(4711)
        for count in (2, 3, 5, len(numbered)):
            cuts = sorted(chance.sample(range(1, len(numbered)), count - 1))
            shards = [numbered[start:end] for start, end in zip([0, *cuts], [*cuts, None], strict=True)]
            assert join_shards(self.format, shards, catalog) == self.tree()

    def test_a_sample_is_rendered_alike_whatever_was_rendered_before(self) -> None:
        numbered, catalog = self.samples(), self.catalog()
        forwards = {sample.image_id: list(self.format.render(sample, catalog)) for sample in numbered}
        backwards = {sample.image_id: list(self.format.render(sample, catalog)) for sample in reversed(numbered)}
        assert forwards == backwards

    def test_losses_are_of_annotations_the_sample_has(self) -> None:
        for sample, found in find_losses(self.format, self.samples(), self.catalog()):
            identities = {annotation.id for annotation in sample.sample.annotations}
            for loss in found:
                assert loss.annotation_id == "" or loss.annotation_id in identities
                assert loss.outcome in {"skipped", "lossy"}
                assert re.fullmatch(r"[A-Z][A-Z0-9_]*", loss.reason), loss.reason

    def test_no_annotation_is_lost_twice(self) -> None:
        for _, found in find_losses(self.format, self.samples(), self.catalog()):
            assert len(set(found)) == len(found)
            skipped = [loss.annotation_id for loss in found if loss.outcome == "skipped"]
            assert len(set(skipped)) == len(skipped)
            assert not set(skipped) & {loss.annotation_id for loss in found if loss.outcome == "lossy"}

    def test_a_sample_that_is_left_out_leaves_out_its_annotations(self) -> None:
        catalog = self.catalog()
        for sample, found in find_losses(self.format, self.samples(), catalog):
            if "" in {loss.annotation_id for loss in found if loss.outcome == "skipped"}:
                assert {loss.outcome for loss in found} == {"skipped"}
                assert len(found) == 1 + len(sample.sample.annotations)
                assert not [entry for entry in self.format.render(sample, catalog) if isinstance(entry, Entry)]

    def test_every_annotation_is_written_or_skipped(self) -> None:
        counts = self.written_annotations(self.tree())
        if counts is None:
            return
        written = dict(counts)
        for sample, found in find_losses(self.format, self.samples(), self.catalog()):
            skipped = {loss.annotation_id for loss in found if loss.outcome == "skipped"} - {""}
            assert written.pop(sample.image_id, 0) == len(sample.sample.annotations) - len(skipped), sample.stem
        assert not written, "annotations of images that do not exist"
