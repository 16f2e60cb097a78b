"""The kinds of cases: each takes a seed and a folder, and raises CaseError where something is not right.

A case returns in a word how it ended. Its seed and kind alone reproduce it.
"""

from collections import defaultdict
from dataclasses import replace

from tests.fuzz import mutations
from tests.fuzz.configurations import configurations
from tests.fuzz.oracle import Contents, check_export, check_secrets, claims
from tests.fuzz.proxy import rows_of, unpacked
from tests.fuzz.staged import staged
from tests.fuzz.world import CaseError, World, fresh

FORMATS = (
    ["coco"], ["yolo"], ["voc"], ["imagefolder"], ["webdataset"], ["parquet"], [{"yolo": {"task": "segment"}}],
    [{"yolo": {"task": "obb"}}], [{"yolo": {"task": "pose"}}],
)  # fmt: skip


class Lab:
    """The worlds of a run of cases, each started when it is first used. Use it as a context manager."""

    def __init__(self, folder):
        self.folder = folder
        self._worlds = {}
        self._golden = {}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for world in self._worlds.values():
            world.__exit__()

    def world(self, name):
        """The running world with a name of :data:`WORLDS`."""
        if name not in self._worlds:
            options, target = WORLDS[name]
            self._worlds[name] = World(options, target).__enter__()
        return self._worlds[name]

    def golden(self, name, variant, **overrides):
        """The contents of an undisturbed export of a world, made once for each variant."""
        if (name, variant) not in self._golden:
            world, folder = self.world(name), fresh(self.folder / f"golden-{name}-{variant}")
            world.proxy.use(None)
            told = world.export(world.values(folder / "out", **overrides), by_command=False, folder=folder)
            if not told.is_complete:
                raise CaseError(f"the undisturbed export failed: {told.text}")
            self._golden[name, variant] = Contents.read(folder / "out")
        return self._golden[name, variant]


WORLDS = {
    "raw": ({"payload": "raw"}, "task"),
    "mixed": ({"payload": "mixed"}, "task"),
    "presigned": ({"payload": "presigned"}, "task"),
    "assignment": ({"payload": "mixed"}, "assignment"),
    "truth": ({"payload": "raw"}, "ground_truth"),
    "old": ({"payload": "raw", "pagination": "page", "file_urls": "media", "ids_filter_ground_truth": False}, "task"),
}


def answers(lab, seed, folder):
    """Answers of every route: bytes, packing, lengths, types, statuses, pages."""
    return _disturbed(
        lab,
        seed,
        folder,
        tuple(WORLDS),
        lambda world: mutations.answers(seed, has_payloads=world.options["payload"] != "raw"),
    )


def rows(lab, seed, folder):
    """Fields of rows and of the envelope around them."""
    return _disturbed(lab, seed, folder, tuple(WORLDS), lambda world: mutations.rows(seed, world.keys))


def documents(lab, seed, folder):
    """Fields of documents within their rows."""
    return _disturbed(lab, seed, folder, ("raw", "old", "truth"), lambda world: mutations.documents(seed, world.keys))


def payloads(lab, seed, folder):
    """Documents outside of their rows, and what rows say of them."""
    names = ("presigned", "mixed", "assignment")
    return _disturbed(lab, seed, folder, names, lambda world: mutations.payloads(seed, world.keys))


def originals(lab, seed, folder):
    """Original files and the answers that bring them."""
    return _disturbed(lab, seed, folder, ("raw", "assignment", "truth", "old"), lambda _: mutations.originals(seed))


def _disturbed(lab, seed, folder, names, mutate):
    dice = mutations.chance(seed, "case")
    name, formats = dice.choice(names), dice.choice(FORMATS)
    world = lab.world(name)
    golden = lab.golden(name, str(formats), formats=["csv", "synapse_json", *formats])
    tolerant, by_command = dice.random() < 0.8, dice.random() < 0.3
    values = world.values(
        folder / "out", formats=["csv", "synapse_json", *formats], max_failures="100%" if tolerant else 0,
        run={"page_size": dice.choice((2, 3, 100))},
    )  # fmt: skip
    mutation = mutate(world)
    world.proxy.use(mutation)
    told = world.export(values, by_command=by_command, folder=folder)
    changed, target = list(world.proxy.changed), getattr(mutation, "key", None)
    world.proxy.use(None)
    check_secrets(world.secrets(), told.text, folder)
    ended = _check(world, golden, folder / "out", told, changed, target)
    if not told.is_complete:
        # What cannot succeed unchanged is kept as it failed, so the limit must allow it now.
        healed = world.export({**values, "max_failures": "100%"}, by_command=False, folder=folder)
        check_secrets(world.secrets(), healed.text, folder)
        ended += " then " + _check(world, golden, folder / "out", healed, changed, target)
        harmless = not any(request.route in ("api", "count", "plan") for request, *_ in changed)
        if harmless and not healed.is_complete:
            raise CaseError(
                f"the same command does not continue once the answers are right: {healed.text}\nafter: {told.text}"
            )
    return ended if changed else f"{ended} (nothing was hit)"


def _check(world, golden, out, told, changed, target):
    if not told.is_complete:
        if (out / "_SUCCESS.json").exists():
            raise CaseError(f"published, but the exit code is {told.code}: {told.text}")
        return f"exit {told.code}"
    check_export(out, golden, world.keys, *_touched(world, changed, target))
    return "complete"


def _touched(world, changed, target):
    """The keys of records of which an answer was changed; by key the annotations that each such answer has, and the
    originals that were sent.
    """
    by_index = {record.index: record.key for record in world.truth}
    ids = defaultdict(set)
    for record in world.truth:
        ids[record.id].add(record.key)
    touched, said, served = set(), defaultdict(list), defaultdict(list)
    for request, clean, answer in changed:
        if request.route in ("payloads", "originals"):
            key = by_index.get(int(request.path.split("/")[3].split(".")[0]))
            touched.add(key)
            if request.route == "payloads":
                said[key].append(set())
            else:
                served[key] += [clean.body, answer.body, *unpacked(answer.body)]
            continue
        if not request.path.startswith("/sdk/"):
            continue
        after = {_key(row): row for row in rows_of(answer.body)}
        for row in rows_of(clean.body):
            key = _key(row)
            if row == after.get(key) and key != target and replace(answer, body=b"") == replace(clean, body=b""):
                continue
            touched |= {key} if key in world.keys else ids[key]
            if request.route == "documents":
                said[key].append((claims(after[key]) if key in after else None) or set())
    baseline = {record.key: {thing.id for thing in record.annotations} for record in world.truth}
    claimed = {key: set.intersection(baseline[key], *said[key]) for key in touched if key in baseline}
    return touched, claimed, served


def _key(row):
    key = row.get("pgh_id", row.get("id"))
    return key if isinstance(key, int) else str(key)


KINDS = {case.__name__: case for case in (answers, rows, documents, payloads, originals, configurations, staged)}
