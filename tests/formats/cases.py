"""What every format must do. A format's test class inherits :class:`FormatCases` and sets ``format``.

::

    class TestMyFormat(FormatCases):
        format = MyFormat()
"""

import hashlib
import importlib
import json
import os
import pickle
import random
import re
import subprocess
import sys
import unicodedata
from pathlib import Path, PurePosixPath

import msgspec
import yaml

from pipeline.formats import Entry, Format, Loss
from tests.formats.sample_set import catalog_of, empty_catalog, samples

ROOT = Path(__file__).parents[2]
RESERVED = ("images", "files", "metadata", "_staging", "_SUCCESS.json")
# What may be joined beside the images, because a reader looks for it there. No original is ever called that.
BESIDE_IMAGES = re.compile(r"images/[^/]+/metadata\.parquet")
_UNSAFE = re.compile(r"[\x00-\x1f\x7f\\:*?\"<>|]")
_NOT_FINITE = re.compile(r"(?<!\w)[-+]?(nan|inf|infinity)(?!\w)", re.IGNORECASE)


def join(format_, numbered, catalog):
    """The files of an export, by path, as the write and merge stages make them from one shard."""
    return join_shards(format_, [numbered], catalog)


def original_of(sample):
    """Stands for the bytes of a sample's original."""
    return b"<original %d>" % sample.image_id + b"." * (sample.original.size - len(f"<original {sample.image_id}>"))


def join_shards(format_, shards, catalog):
    """The files of an export, by path, from several shards; AssertionError when the format breaks its contract."""
    manifests = {}
    for manifest in format_.manifests(catalog):
        assert manifest.path not in manifests, f"{manifest.path} is declared twice"
        manifests[manifest.path] = manifest
    separators = {(path, section.name): section.separator for path, m in manifests.items() for section in m.sections}
    parts = {key: [] for key in separators}
    tree = {}
    for shard in shards:
        items = {}
        for sample, entry in ((numbered, item) for numbered in shard for item in format_.render(numbered, catalog)):
            if isinstance(entry, Loss):
                continue
            assert isinstance(entry, Entry), f"{entry!r} is neither an Entry nor a Loss"
            assert isinstance(entry.data, bytes), f"{entry.path} is not bytes"
            data = entry.data
            if entry.original:
                assert not data, f"{entry.path} is an original and has bytes of its own"
                assert not (entry.as_jpeg and entry.section), f"{entry.path} asks for a JPEG inside a manifest"
                data = original_of(sample)
            if entry.section:
                key = entry.path, entry.section
                assert key in separators, f"section {entry.section!r} of {entry.path} is not declared"
                assert not (entry.original and separators[key]), f"{entry.path} separates originals"
                items.setdefault(key, []).append(data)
            else:
                assert entry.path not in tree, f"{entry.path} is written twice"
                assert entry.path not in manifests, f"{entry.path} is a manifest and a file"
                tree[entry.path] = data
        for key, found in items.items():
            parts[key].append(separators[key].join(found))
    for path, manifest in manifests.items():
        joined = b"".join(
            section.open + section.separator.join(parts[path, section.name]) + section.close
            for section in manifest.sections
        )
        tree[path] = transformed(manifest, joined)
    return dict(sorted(tree.items()))


def transformed(manifest, joined):
    """The bytes of a manifest's file; the same however the joined bytes are cut."""
    if not manifest.transform:
        return joined
    module, _, function = manifest.transform.partition(":")
    transform = getattr(importlib.import_module(module), function)
    whole = b"".join(transform(iter([joined])))
    step = max(1, len(joined) // 7)
    assert b"".join(transform(joined[start : start + step] for start in range(0, len(joined), step))) == whole
    return whole


def losses(format_, numbered, catalog):
    """Each sample with its losses."""
    for sample in numbered:
        yield sample, [result for result in format_.render(sample, catalog) if isinstance(result, Loss)]


def digest(tree):
    """One digest of a whole tree."""
    whole = hashlib.sha256()
    for path, data in sorted(tree.items()):
        whole.update(f"{len(path)} {path} {len(data)} ".encode() + data)
    return whole.hexdigest()


def strict_json(data):
    """The JSON value, refusing the constants that JSON has not."""
    return json.loads(data, parse_constant=lambda name: _refuse(f"{name} is not JSON"))


def _refuse(message):
    raise AssertionError(message)


def _one_name(path):
    return unicodedata.normalize("NFC", path).casefold()


class FormatCases:
    """The conformance suite. Override :meth:`check` and :meth:`written_annotations` where more can be said."""

    format: Format

    def samples(self):
        return samples()

    def catalog(self):
        return catalog_of(self.samples())

    def tree(self):
        return join(self.format, self.samples(), self.catalog())

    def check(self, tree):
        """Refuse a tree that readers could not load."""
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

    def written_annotations(self, tree):
        """How many annotations of each sample the files hold, by image id; None when the format cannot tell."""

    def test_is_a_format(self):
        assert isinstance(self.format, Format)
        assert re.fullmatch(r"[a-z][a-z0-9_]*", self.format.name)
        assert isinstance(self.format.needs_payload, bool)

    def test_gives_the_same_bytes_twice(self):
        assert self.tree() == self.tree()

    def test_gives_the_same_bytes_after_pickling(self):
        copy = pickle.loads(pickle.dumps(self.format))
        assert copy == self.format
        assert join(copy, self.samples(), self.catalog()) == self.tree()

    def test_gives_the_same_bytes_in_another_process(self):
        code = (
            "import pickle, sys; from tests.formats.cases import digest, join;"
            "print(digest(join(*pickle.load(sys.stdin.buffer))))"
        )
        paths = os.pathsep.join([str(ROOT), *filter(None, sys.path)])
        finished = subprocess.run(
            [sys.executable, "-c", code],
            input=pickle.dumps((self.format, self.samples(), self.catalog())),
            env={**os.environ, "PYTHONPATH": paths, "PYTHONHASHSEED": "4711"},
            cwd=ROOT,
            capture_output=True,
            check=False,
        )
        assert finished.returncode == 0, finished.stderr.decode()
        assert finished.stdout.decode().strip() == digest(self.tree())

    def test_leaves_its_input_alone(self):
        numbered, catalog = self.samples(), self.catalog()
        before = msgspec.msgpack.encode((numbered, catalog))
        join(self.format, numbered, catalog)
        assert msgspec.msgpack.encode((numbered, catalog)) == before

    def test_files_are_loadable(self):
        tree = self.tree()
        assert tree
        self.check(tree)

    def test_an_export_without_samples_is_loadable(self):
        self.check(join(self.format, [], empty_catalog()))

    def test_an_export_without_samples_but_with_classes_is_loadable(self):
        self.check(join(self.format, [], catalog_of([])))

    def test_an_export_of_which_nothing_is_usable_is_loadable(self):
        numbered = [sample for sample in self.samples() if not sample.sample.has_image]
        self.check(join(self.format, numbered, catalog_of(numbered)))

    def test_paths_are_relative_and_safe_on_every_disk(self):
        for path in self.tree():
            assert path == str(PurePosixPath(path)), path
            for part in path.split("/"):
                assert part not in ("", ".", ".."), path
                assert not _UNSAFE.search(part), path
                assert part == part.strip(" "), path
                assert not part.endswith("."), path
                assert len(part.encode()) <= 255, path

    def test_paths_differ_on_case_blind_disks(self):
        paths = list(self.tree())
        assert len({_one_name(path) for path in paths}) == len(paths)

    def test_paths_are_not_in_folders_of_the_export_itself(self):
        joined = {manifest.path for manifest in self.format.manifests(self.catalog())}
        beside = {path for path in joined if BESIDE_IMAGES.fullmatch(path)}
        assert not [path for path in self.tree() if path not in beside and path.split("/")[0] in RESERVED]

    def test_any_cut_into_shards_gives_the_same_bytes(self):
        numbered, catalog = self.samples(), self.catalog()
        chance = random.Random(4711)
        for count in (2, 3, 5, len(numbered)):
            cuts = sorted(chance.sample(range(1, len(numbered)), count - 1))
            shards = [numbered[start:end] for start, end in zip([0, *cuts], [*cuts, None], strict=True)]
            assert join_shards(self.format, shards, catalog) == self.tree()

    def test_a_sample_is_rendered_alike_whatever_was_rendered_before(self):
        numbered, catalog = self.samples(), self.catalog()
        forwards = {sample.image_id: list(self.format.render(sample, catalog)) for sample in numbered}
        backwards = {sample.image_id: list(self.format.render(sample, catalog)) for sample in reversed(numbered)}
        assert forwards == backwards

    def test_losses_are_of_annotations_the_sample_has(self):
        for sample, found in losses(self.format, self.samples(), self.catalog()):
            identities = {annotation.id for annotation in sample.sample.annotations}
            for loss in found:
                assert loss.annotation_id == "" or loss.annotation_id in identities
                assert loss.outcome in {"skipped", "lossy"}
                assert re.fullmatch(r"[A-Z][A-Z0-9_]*", loss.reason), loss.reason

    def test_no_annotation_is_lost_twice(self):
        for _, found in losses(self.format, self.samples(), self.catalog()):
            assert len(set(found)) == len(found)
            skipped = [loss.annotation_id for loss in found if loss.outcome == "skipped"]
            assert len(set(skipped)) == len(skipped)
            assert not set(skipped) & {loss.annotation_id for loss in found if loss.outcome == "lossy"}

    def test_a_sample_that_is_left_out_leaves_out_its_annotations(self):
        catalog = self.catalog()
        for sample, found in losses(self.format, self.samples(), catalog):
            if "" in {loss.annotation_id for loss in found if loss.outcome == "skipped"}:
                assert {loss.outcome for loss in found} == {"skipped"}
                assert len(found) == 1 + len(sample.sample.annotations)
                assert not [entry for entry in self.format.render(sample, catalog) if isinstance(entry, Entry)]

    def test_every_annotation_is_written_or_skipped(self):
        written = self.written_annotations(self.tree())
        if written is None:
            return
        for sample, found in losses(self.format, self.samples(), self.catalog()):
            skipped = {loss.annotation_id for loss in found if loss.outcome == "skipped"} - {""}
            assert written.pop(sample.image_id, 0) == len(sample.sample.annotations) - len(skipped), sample.stem
        assert not written, "annotations of images that do not exist"
