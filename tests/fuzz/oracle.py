"""What is right: an export that is whole and balances, and no record that is lost without a word."""

import csv
import json
from collections import defaultdict
from dataclasses import dataclass

from exporting import storage, summary
from pipeline.commands.verify import verify
from pipeline.errors import VerificationError
from tests.fuzz.world import CaseError

# What a record shares with others: numbers that count them.
_SHARED = ("image_id", "annotation_id", "class_index")


@dataclass
class Contents:
    """What an export has of each record: rows of tables, files and the lines about what is not in it."""

    media: dict
    annotations: dict
    documents: dict
    originals: dict
    lines: dict
    left_out: dict

    @classmethod
    def read(cls, path):
        """Read an export on a disk with the formats csv and synapse_json and names by record."""
        media, annotations, originals, lines = (defaultdict(list) for _ in range(4))
        documents, left_out = {}, defaultdict(set)
        for row in _table(path / "metadata/records.csv"):
            number = int(row["record_id"])
            media[number].append(_own(row))
            if row["bytes"]:
                originals[number].append((path / row["output_name"]).read_bytes())
        for row in _table(path / "annotations.csv"):
            annotations[int(row["record_id"])].append(_own(row))
        for line in (path / "metadata/failures.jsonl").read_text().splitlines():
            found = json.loads(line)
            lines[found["record_id"]].append(found)
        for line in (path / "metadata/losses.jsonl").read_text().splitlines():
            found = json.loads(line)
            if found["format"] == "csv":
                left_out[found["record_id"]].update(found.get("annotation_ids", ()))
        for file in (path / "json").glob("*.json"):
            documents[file.stem] = file.read_bytes()
        return cls(media, annotations, documents, originals, lines, left_out)

    def of(self, number):
        """All there is of one record, to be compared."""
        own = {name: data for name, data in self.documents.items() if name.split("_")[0] == str(number)}
        every = (self.media, self.annotations, self.originals, self.lines)
        return own, *(table.get(number, []) for table in every)


def _table(path):
    csv.field_size_limit(2**30)
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _own(row):
    return {name: value for name, value in row.items() if name not in _SHARED}


def check_export(path, golden, keys, touched, claimed, served):
    """Raise CaseError for an export that is not right.

    ``golden`` are the contents of an undisturbed export. Records of ``keys`` that are not in ``touched`` must be there
    as they are in it. One that is touched must be written or named; ``claimed`` has, by record, the ids of annotations
    that each answer about it said, and ``served`` the originals that were sent.
    """
    try:
        verify(storage(path), full=True)
    except VerificationError as error:
        raise CaseError(f"complete, but verify says: {error}") from error
    check_books(summary(path))
    found, missing = Contents.read(path), 0
    for key in keys:
        there, before = found.of(key), golden.of(key)
        if key not in touched:
            if there != before:
                changes = _difference(before, there)
                raise CaseError(f"record {key} is another although nothing of it was touched:\n{changes}")
            continue
        lines = found.lines.get(key, [])
        if not found.media.get(key) and not lines:
            missing += 1
            continue
        if foreign := [
            data for data in found.originals.get(key, ()) if data not in served.get(key, golden.originals[key])
        ]:
            raise CaseError(f"record {key} has an original that nobody sent: {foreign[0][:60]!r}")
        if key in claimed and not any(_is_of_record(line) for line in lines):
            written = {row["source_id"].removeprefix("'") for row in found.annotations.get(key, ())}
            named = found.left_out[key] | {line["annotation_id"] for line in lines}
            if lost := claimed[key] - written - named:
                raise CaseError(f"record {key} lost the annotations {sorted(lost)} without a word; lines: {lines}")
    told = summary(path)["records"]
    # A plan that stays shorter than the count is used where max_failures allows as many; a warning says so. A record
    # that was planned by another key is named by that.
    others = (found.lines.keys() | found.media.keys()) - set(keys)
    if missing > max(0, (told["counted_by_api"] or 0) - told["planned"]) + len(others):
        raise CaseError(f"{missing} records that were touched are neither written nor named: {told}")
    return found


def _is_of_record(line):
    return not line["annotation_id"] and line["outcome"] != "corrected"


def check_books(told):
    """Raise CaseError where a count is not what was written, skipped and failed together."""
    books = [("records", {**told["records"], "seen": told["records"]["planned"]}), ("originals", told["originals"])]
    for name, own in told["formats"].items():
        books += [(f"{name} {what}", own[what]) for what in ("samples", "annotations")]
    for name, count in books:
        left = [sum(part.values()) if isinstance(part, dict) else part for part in (count["skipped"], count["failed"])]
        if "seen" in count and count["seen"] != count["written"] + sum(left):
            raise CaseError(f"the books of {name} do not balance: {count}")


def check_secrets(secrets, text, *folders):
    """Raise CaseError where a secret was told, staged or written."""
    for secret in secrets:
        if secret in text:
            raise CaseError(f"a secret was printed: {text[max(0, text.index(secret) - 300) :][:700]!r}")
        for folder in folders:
            for file in folder.rglob("*"):
                if file.is_file() and not file.is_symlink() and secret.encode() in file.read_bytes():
                    raise CaseError(f"a secret is in {file}")


def claims(row):
    """The ids of annotations that a row's document has, where it can be told; else None."""
    data = row.get("data")
    if not isinstance(data, dict) or not isinstance(data.get("annotations"), dict):
        return None
    found = set()
    for items in data["annotations"].values():
        if isinstance(items, list):
            found |= {
                item["id"]
                for item in items
                if isinstance(item, dict) and isinstance(item.get("id"), str) and item["id"]
            }
    return found


def _difference(golden, found):
    names = ("documents", "media", "annotations", "originals", "lines")
    return "\n".join(
        f"{name}: {str(a)[:600]} is {str(b)[:600]}" for name, a, b in zip(names, golden, found, strict=True) if a != b
    )
