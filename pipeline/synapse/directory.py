"""What there is to choose from: projects, ground truth datasets and their versions, storages, tags.

Lists of projects, datasets and tags are those of the v2 API; where a server has none, the v1 API is asked as far as it
knows them. Storages and versions are lists of v1. A list ends after ``MOST_PAGES`` pages or ``MOST_SECONDS``, and then
says that there is more.
"""

import time
from collections.abc import Mapping
from typing import Any

import msgspec

from pipeline.errors import BackendError, PreflightError
from pipeline.synapse.client import SynapseClient

MOST_PAGES = 200
MOST_SECONDS = 120.0
_PER_PAGE = "200"  # more are cut to 200 by the v2 API


class Rows(msgspec.Struct, frozen=True):
    """Rows of a list in the server's order, as it gives them. ``is_complete`` is False when more may be there."""

    rows: tuple[dict[str, Any], ...]
    is_complete: bool = True


class Directory:
    """The lists that the member of the token may read.

    Every method raises CredentialsError, PreflightError, TransientError, or BackendError for an answer that is no list.
    """

    def __init__(self, client: SynapseClient) -> None:
        self._client = client

    def projects(self) -> Rows:
        """Projects: ``id``, ``title``, ``category``, ``created``; ``task_count`` and ``is_archived`` of v2 only."""
        return self._newer_or_older("projects", "v2/projects/", {}, "projects/", {})

    def datasets(self, project: int | None) -> Rows:
        """Ground truth datasets of a project, or of all: ``id`` and ``name``. Needs the v2 API."""
        params = {} if project is None else {"project": str(project)}
        return self._walk("ground truth datasets", "v2/ground-truth-datasets/", {**params, "per_page": _PER_PAGE})

    def versions(self, dataset: int) -> Rows:
        """Versions of a ground truth dataset: ``id``, ``version``, ``created``, ``is_archived``, ``description``."""
        params = {"ground_truth_dataset": str(dataset), "page_size": _PER_PAGE}
        found = self._walk(f"versions of ground truth dataset {dataset}", "ground_truth_dataset_versions/", params)
        # A server ignores what it does not know, and would then list all versions.
        return _of(found, "ground_truth_dataset", dataset)

    def storages(self) -> Rows:
        """Storages: ``id``, ``name``, ``provider``, ``category``, ``is_default``. Their configuration is not asked."""
        return self._walk("storages", "storages/", {"page_size": _PER_PAGE})

    def tags(self, project: int) -> Rows:
        """Task tags of a project: ``id`` and ``name``."""
        older = {"project": str(project)}
        found = self._newer_or_older(
            f"tags of project {project}", f"v2/projects/{project}/tags/", {}, "task_tags/", older
        )
        return _of(found, "project", project)

    def user(self) -> dict[str, Any]:
        """The member of the token: ``email`` and ``name``. Needs the v2 API."""
        found = self._client.answer("the user", "v2/users/me/")
        return found if isinstance(found, dict) else {}

    def tenants(self) -> Rows:
        """The tenants of the member: ``code`` and ``name``. Needs the v2 API."""
        return self._walk("tenants", "v2/tenants/", {"per_page": _PER_PAGE})

    def _newer_or_older(
        self, what: str, newer: str, newer_params: Mapping[str, str], older: str, older_params: Mapping[str, str]
    ) -> Rows:
        try:
            return self._walk(what, newer, {**newer_params, "per_page": _PER_PAGE})
        except (PreflightError, BackendError):  # v2 is not there, or not for this token: v1 has the last word
            return self._walk(what, older, {**older_params, "page_size": _PER_PAGE})

    def _walk(self, what: str, address: str, params: Mapping[str, str]) -> Rows:
        rows: list[dict[str, Any]] = []
        end = time.monotonic() + MOST_SECONDS
        link, given, seen = address, params, set[str]()
        for _ in range(MOST_PAGES):
            found = self._client.answer(what, link, given)
            # Some deployments list all storages at once.
            results = found if isinstance(found, list) else found.get("results")
            if not isinstance(results, list):
                raise BackendError(self._client.origin, f"answers with something else than a list of {what}")
            rows += [row for row in results if isinstance(row, dict)]
            forward = found.get("next") if isinstance(found, dict) else None
            if not forward:
                return Rows(tuple(rows))
            if not isinstance(forward, str) or forward in seen or time.monotonic() > end:
                break
            seen.add(forward)
            # v1 gives the address of the next page, v2 the cursor alone.
            is_link = "://" in forward or forward.startswith("/")
            link, given = (forward, {}) if is_link else (address, {**params, "cursor": forward})
        return Rows(tuple(rows), is_complete=False)


def _of(found: Rows, key: str, number: int) -> Rows:
    """The rows that do not say that they are of another ``number``."""

    def owner(row: Mapping[str, Any]) -> Any:
        said = row.get(key)
        return said.get("id") if isinstance(said, dict) else said

    return Rows(tuple(row for row in found.rows if owner(row) in (None, number)), found.is_complete)
