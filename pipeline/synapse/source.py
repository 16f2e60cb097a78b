"""The source of one export's records: checks, counts, plans and fetches them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, BinaryIO

from pipeline.errors import ExportError, PreflightError, TransientError
from pipeline.model.labels import configured_classes, configured_points, configured_tools
from pipeline.model.shards import Shard
from pipeline.model.source import Copied, ExtractedRecord, Project, Wanted
from pipeline.records import Failure
from pipeline.synapse.client import SynapseClient
from pipeline.synapse.extractor import Extractor
from pipeline.synapse.http.event_loop import gather
from pipeline.synapse.limits import DEFAULT_LIMITS, SourceLimits
from pipeline.synapse.listing.filters import check_filter
from pipeline.synapse.listing.listing import Listing
from pipeline.synapse.listing.planner import Planner, PlanReport
from pipeline.synapse.original_sizes import OriginalSizes
from pipeline.synapse.originals import OriginalCopier

_STATES = (
    ("is_discarded", "true"),
    ("status_review", "rejected"),
    ("status_label", "stand_by"),
    ("status_label", "in_progress"),
    ("status_label", "skipped"),
)


class Source:
    """The records that ``filter`` selects of a target; the same ones in every process.

    ``split_key`` is what the samples of a record are grouped by (:func:`pipeline.synapse.split_value.split_value`).
    ``filter`` is the configuration's, checked and translated here: raises ConfigError, and sends nothing.
    ``plan_report`` is what :meth:`plan` found.
    """

    def __init__(
        self,
        client: SynapseClient,
        target: str,
        filter: Mapping[str, Any],  # noqa: A002  the configuration's word
        *,
        page_size: int = 100,
        split_key: str = "record",
        limits: SourceLimits = DEFAULT_LIMITS,
    ) -> None:
        self._client = client
        self._target = target
        self._split_key = split_key
        expand = "data_unit" if split_key.startswith("data_unit.") else ""
        self._listing = Listing(client, target, check_filter(target, filter), page_size, expand, limits)
        self._counted: int | None = None
        self._dataset: int | None = None
        self.plan_report = PlanReport()

    def check(self) -> Project:
        """Prove, in seconds, that the token works and that what is asked for exists and may be read.

        Raises CredentialsError, or PreflightError for anything else that stands in the way.
        """
        try:
            if self._target == "ground_truth":
                return self._ground_truth_project(int(self._listing.filter["ground_truth_dataset_versions"]))
            number = int(self._listing.filter["project"])
            return _project(number, self._client.project(number))
        except TransientError as error:
            raise PreflightError(*error.args) from error

    def _ground_truth_project(self, version: int) -> Project:
        """A version's dataset's project. Only the version has to be readable: the rest is for the order of classes."""
        found = self._client.ground_truth_version(version)
        dataset = found.get("ground_truth_dataset")
        dataset = dataset.get("id") if isinstance(dataset, dict) else dataset
        title = f"ground truth dataset {dataset} version {found.get('version', version)}"
        why = "the version does not say which dataset it is of"
        if isinstance(dataset, int):
            self._dataset = dataset
            try:
                number = self._client.ground_truth_project(dataset)
                if number is not None:
                    return _project(number, self._client.project(number))
                why = f"ground truth dataset {dataset} has no project"
            except ExportError as error:
                why = str(error)
        return Project(None, title, warning=f"classes are ordered by name, not as configured: {why}")

    def count(self) -> int:
        """Return how many records there are, by the server's own count. It is asked once; the plan compares with it."""
        if self._counted is None:
            self._counted = self._client.run(self._listing.count())
        return self._counted

    def count_states(self) -> dict[tuple[str, str], int]:
        """Return how many records are in a state that a dataset may not want, by the key and value of that state.

        Ground truth has no states. A key that the filter has is decided already, and left out as states of no record.
        """
        return self._client.run(self._count_states())

    async def _count_states(self) -> dict[tuple[str, str], int]:
        base = self._listing.filter
        states = [] if self._target == "ground_truth" else [state for state in _STATES if state[0] not in base]
        listings = (Listing(self._client, self._target, {**base, key: value}, 1) for key, value in states)
        counts = await gather(listing.count() for listing in listings)
        return {state: count for state, count in zip(states, counts, strict=True) if count}

    def plan(self, shard_size: int, on_progress: Callable[[int], None]) -> list[Shard]:
        """Every record's key, in shards of ``shard_size`` in ascending order; ``on_progress`` gets numbers of records.

        Raises BackendError when the API cannot be asked for parts of this target.
        """
        planner = Planner(self._listing, shard_size, on_progress, self._counted, self._dataset)
        shards = self._client.run(planner.plan())
        self.plan_report = planner.report
        return shards

    def sample(self, number: int) -> Shard:
        """The newest records, ``number`` at most, as a shard: for a forecast."""
        return self._client.run(Planner(self._listing, number, lambda _: None, self._counted).sample(number))

    def extract(self, shard: Shard, *, needs_payload: bool) -> list[ExtractedRecord]:
        """The shard's records in ascending key order, exactly one for each of its keys.

        Raises TransientError when the API or the object store is down, BackendError when it gives a final no.
        """
        return self.extract_each(shard, lambda record: record, needs_payload=needs_payload)

    def extract_each[T](self, shard: Shard, finish: Callable[[ExtractedRecord], T], *, needs_payload: bool) -> list[T]:
        """The same, keeping of each record only what ``finish`` makes of it, as soon as it is there, in any order."""
        extractor = Extractor(self._listing, shard, finish, needs_payload=needs_payload, split_key=self._split_key)
        return self._client.run(extractor.run())

    def copy_originals(
        self,
        shard: Shard,
        wanted: Sequence[Wanted],
        write: Callable[[str, bytes], None],
        open_stream: Callable[[str], AbstractContextManager[BinaryIO]],
    ) -> Iterable[tuple[str, Copied | Failure]]:
        """Copy original files of the shard's records; what became of each, by its path, in the order of ``wanted``.

        ``write`` takes a small file whole, ``open_stream`` a large one piece by piece (complete at the end of its
        block, discarded on an exception). Both are called from several threads. Raises what they raise, and
        TransientError and BackendError as :meth:`extract` does.
        """
        return self._client.run(OriginalCopier(self._listing, shard, write, open_stream).run(wanted))

    def measure_originals(self, shard: Shard, wanted: Sequence[Wanted]) -> dict[str, int | Failure]:
        """Ask for the bytes of original files without fetching them; by path, those that are known, or why not.

        Raises what :meth:`extract` raises.
        """
        return self._client.run(OriginalSizes(self._listing, shard).run(wanted))


def _project(number: int, found: Mapping[str, Any]) -> Project:
    configuration = found.get("configuration")
    configuration = configuration if isinstance(configuration, dict) else {}
    title = found.get("title")
    return Project(
        number,
        title if isinstance(title, str) and title else f"project {number}",
        tuple(configured_classes(configuration)),
        tuple(configured_points(configuration)),
        tools=configured_tools(configuration),
    )
