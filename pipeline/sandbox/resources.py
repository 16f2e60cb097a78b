"""The small resources of the API: projects, versions, agents, storages, jobs (contract, sections 1, 2, 7 and 8)."""

import base64
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pipeline.model.skeletons import PERSON_POINTS
from pipeline.sandbox.data import (
    DATASET,
    FORBIDDEN_PROJECT,
    OLDER_VERSION,
    OTHER_DATASET,
    OTHER_PROJECT,
    OTHER_VERSION,
    PROJECT,
    VERSION,
    utc_in,
)
from pipeline.sandbox.options import SandboxOptions
from pipeline.sandbox.scenes import COLOURS, UNCONFIGURED_CLASS

TENANT = "sandbox"
STORAGE, READ_ONLY_STORAGE = 11, 12
COLLECTION = 5
_CREATED = "2026-07-01T00:00:00+09:00"
_CLASSES = {
    "bounding_box": ("car", "bus", "truck", "person", "bicycle", "traffic_sign"),
    "polygon": ("traffic_sign", "가로수", "sidewalk"),
    "segmentation": ("가로수", "sidewalk", "car"),
    "polyline": ("lane",),
    "keypoint": PERSON_POINTS,
    "classification": ("day", "night"),
}
VERSIONS = {VERSION: (DATASET, "1.2.0"), OLDER_VERSION: (DATASET, "1.1.0"), OTHER_VERSION: (OTHER_DATASET, "0.1.0")}
_TITLES = {PROJECT: "Dashcam 2026", OTHER_PROJECT: "Night 2026"}
_OWNERS = {DATASET: PROJECT, OTHER_DATASET: OTHER_PROJECT}
_DATASETS = {DATASET: "교차로 정답 🚦", OTHER_DATASET: "dataset-210"}
_TAGS = {1: "tag-1", 2: "비 오는 날 🌧", 3: "tag-3", 4: "tag-4"}


_MORE_TITLES = (
    "보행자 검출",
    "🚗 주차장",
    "Crossing [bold red]markup[/]",
    "Bell \x07 and \x1b[31mred",
    "Tab\tand\nline",
)
_FIRST_MORE = 1001
_PAGE_SIZE, _MOST_PER_PAGE = 100, 200


class RefusedError(Exception):
    """An answer other than 200. Arguments: the status and the JSON body."""


def envelope(results: Sequence[Any], query: Mapping[str, str] | None = None, address: str = "") -> dict[str, Any]:
    """Return a v1 page: all results, or the page that ``query`` asks for, with links that begin with ``address``.

    Raises :class:`RefusedError` with 404 for a page past the end.
    """
    if query is None:
        return {"count": len(results), "next": None, "previous": None, "results": list(results)}
    size, page = int(query.get("page_size") or _PAGE_SIZE), int(query.get("page") or 1)
    part = results[(page - 1) * size : page * size]
    if page > 1 and not part:
        raise RefusedError(404, {"detail": "Invalid page."})
    kept = "&".join(f"{name}={value}" for name, value in query.items() if name != "page")
    following = f"{address}?page={page + 1}&{kept}".rstrip("&") if page * size < len(results) else None
    return {"count": len(results), "next": following, "previous": None, "results": list(part)}


def envelope_v2(data: Any, query: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return a v2 answer; of a list the page that ``query`` asks for. The cursor is opaque, and comes alone."""
    meta: dict[str, Any] = {"request_id": "req_sandbox"}
    if isinstance(data, list):
        given = query or {}
        size = min(int(given.get("per_page") or 50), _MOST_PER_PAGE)
        start = int(base64.urlsafe_b64decode(given["cursor"]).decode()) if given.get("cursor") else 0
        end = start + size
        following = base64.urlsafe_b64encode(str(end).encode()).decode() if end < len(data) else None
        data = data[start:end]
        meta["pagination"] = {"next_cursor": following, "previous_cursor": None, "per_page": size}
    return {"data": data, "meta": meta}


def not_found() -> RefusedError:
    """Return the 404 of Django REST framework."""
    return RefusedError(404, {"detail": "Not found."})


def configuration() -> dict[str, Any]:
    """Return the class configuration of the project; one class that occurs in the data is missing from it."""
    assert all(UNCONFIGURED_CLASS not in codes for codes in _CLASSES.values())
    tools = {}
    for tool, codes in _CLASSES.items():
        schema = []
        for number, code in enumerate(codes):
            red, green, blue = COLOURS.get(code, (255, 255, 0))
            entry = {"id": f"{tool}-{number}", "code": code, "name": code.replace("_", " ").title()}
            entry |= {"value": f"#{red:02X}{green:02X}{blue:02X}"}
            schema.append({**entry, "is_default": number == 0, "customFields": {}, "attributes": []})
        tools[tool] = {"id": f"tool-{tool}", "representativeCodes": [], "classification_schema": schema}
    return {"schema_type": "dm_schema", "classification": tools}


def titles(more: int) -> dict[int, str]:
    """Return the titles of the projects that the member of the token can see, ``more`` besides those with data."""
    return _TITLES | {_FIRST_MORE + i: f"{_MORE_TITLES[i % len(_MORE_TITLES)]} {i + 1}" for i in range(more)}


def projects(more: int) -> list[dict[str, Any]]:
    """Return the projects that the member of the token can see."""
    return [project(number, more) for number in titles(more)]


def project(number: int, more: int) -> dict[str, Any]:
    """Return one project. Raises :class:`RefusedError` with 403 for the one without a role and 404 for unknown ones."""
    if number == FORBIDDEN_PROJECT:
        raise RefusedError(403, {"detail": "You do not have permission to perform this action."})
    if number not in titles(more):
        raise not_found()
    return {
        "id": number,
        "title": titles(more)[number],
        "description": "",
        "category": "image",
        "data_collection": COLLECTION,
        "is_archived": False,
        "access_level": "private",
        "configuration": configuration(),
        "settings": {},
        "created": _CREATED,
    }


def projects_v2(records: int, more: int) -> list[dict[str, Any]]:
    """Return the projects as the v2 API lists them."""
    return [
        {"id": number, "title": title, "category": "image", "category_display": "이미지", "created": _CREATED}
        | {"is_archived": False, "task_count": records if number == PROJECT else 0}
        for number, title in titles(more).items()
    ]


def version(number: int) -> dict[str, Any]:
    """Return one version of a ground truth dataset. Raises :class:`RefusedError` with 404."""
    if number not in VERSIONS:
        raise not_found()
    dataset, name = VERSIONS[number]
    row = {"id": number, "version": name, "ground_truth_dataset": dataset, "description": ""}
    return {**row, "is_archived": False, "created": _CREATED}


def dataset_v2(number: int) -> dict[str, Any]:
    """Return a ground truth dataset with its project, as the v2 API gives it. Raises :class:`RefusedError` with 404."""
    if number not in _OWNERS:
        raise not_found_v2()
    return {"id": number, "name": _DATASETS[number], "project_id": _OWNERS[number], "created": _CREATED}


def datasets_v2(project: str) -> list[dict[str, Any]]:
    """Return the ground truth datasets of a project, or all of them for ``""``, as the v2 API lists them."""
    return [
        {"id": number, "name": _DATASETS[number]} for number, owner in _OWNERS.items() if project in ("", str(owner))
    ]


def not_found_v2() -> RefusedError:
    """Return the 404 of the v2 API."""
    return RefusedError(404, {"error": {"code": "NOT_FOUND", "message": "Not found.", "details": []}})


def collection() -> dict[str, Any]:
    """Return the data collection with its file specifications."""
    specification = {"name": "image_1", "file_type": "image", "is_required": True, "is_primary": True}
    sidecar = {"name": "data_meta_1", "file_type": "data", "is_required": False, "is_primary": False}
    return {
        "id": COLLECTION,
        "name": "dashcam",
        "category": "image",
        "file_specifications": [
            {"id": 1, **specification, "function_type": "main", "index": 1},
            {"id": 2, **sidecar, "function_type": "meta", "index": 1},
        ],
    }


def agent() -> dict[str, Any]:
    """Return the only agent."""
    names = {"id": 3, "name": "sandbox-agent", "url": "http://127.0.0.1:8000", "token": None}
    return {**names, "status": "connected", "node_install_script": ""}


def user_v2() -> dict[str, Any]:
    """Return the member of the token."""
    return {"id": 7, "email": "sandbox@example.com", "name": "Sandbox", "is_synapse_admin": False}


def tags() -> list[dict[str, Any]]:
    """Return the task tags of the project."""
    return [{"id": number, "name": name, "project": PROJECT} for number, name in _TAGS.items()]


def tags_v2(number: int) -> list[dict[str, Any]]:
    """Return the task tags of a project as the v2 API lists them. Raises :class:`RefusedError` as for the project."""
    if number not in _TITLES:
        raise not_found_v2()
    names = _TAGS if number == PROJECT else {}
    return [{"id": tag, "name": name, "category": "project", "created": _CREATED} for tag, name in names.items()]


def tenants_v2() -> list[dict[str, Any]]:
    """Return the tenants of the member of the token."""
    return [{"code": TENANT, "name": "모래 상자", "slug": TENANT, "is_active": True}]


def file_system(location: str) -> dict[str, Any]:
    """Return the provider and configuration of a storage that is a directory of this machine."""
    return {"provider": "file_system", "configuration": {"location": location}}


def storage(number: int, described: Mapping[str, Any], *, configured: bool) -> dict[str, Any]:
    """Return the storage with the ``described`` provider and, if asked for, configuration; or the read-only one.

    Raises :class:`RefusedError` with 404.
    """
    if number == STORAGE:
        row: dict[str, Any] = {"id": number, "name": "exports", "category": "internal", "is_default": True}
    elif number == READ_ONLY_STORAGE:
        row = {"id": number, "name": "원본 보관소 🗄", "category": "external", "is_default": False}
        described = {"provider": "http", "configuration": {"base_url": "http://127.0.0.1:9/", "timeout": 1}}
    else:
        raise not_found()
    row["provider"] = described["provider"]
    return {**row, "configuration": described["configuration"]} if configured else row


def session(number: int, describe: Callable[[], Mapping[str, Any]], options: SandboxOptions) -> dict[str, Any]:
    """Return a storage session. It ends when the description says so (``expires_at``), else as the options say.

    Raises :class:`RefusedError`: 404 on an old backend, 400 when the option says rejected; nothing is described then.
    """
    if options.session == "old":
        raise not_found()
    if options.session == "rejected":
        raise RefusedError(400, {"code": "credential_not_registered", "detail": "No credential is registered."})
    described = describe()
    expires_at = described.get("expires_at") or utc_in(options.session_ttl)
    if options.session == "expired":
        expires_at = utc_in(-60.0)
    row = storage(number, described, configured=True)
    return {**row, "modified": _CREATED, "expires_at": expires_at, "contract_version": 1}


def job(number: str) -> dict[str, Any]:
    """Return a job that was just created."""
    row: dict[str, Any] = {"id": number, "status": "RUNNING", "action": "export", "params": {}, "progress_record": {}}
    return {**row, "metrics_record": {}, "result": None, "meta": {}, "created": _CREATED, "completed": None}
