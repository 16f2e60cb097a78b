"""The small resources of the API: projects, versions, agents, storages, jobs (contract, sections 1, 2, 7 and 8)."""

from collections.abc import Callable, Mapping
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

STORAGE = 11
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


class RefusedError(Exception):
    """An answer other than 200. Arguments: the status and the JSON body."""


def envelope(results: list[Any]) -> dict[str, Any]:
    """Return a v1 page that holds all results."""
    return {"count": len(results), "next": None, "previous": None, "results": results}


def envelope_v2(data: Any) -> dict[str, Any]:
    """Return a v2 answer."""
    meta: dict[str, Any] = {"request_id": "req_sandbox"}
    if isinstance(data, list):
        meta["pagination"] = {"next_cursor": None, "previous_cursor": None, "per_page": 50}
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


def projects() -> list[dict[str, Any]]:
    """Return the projects that the member of the token can see."""
    return [project(number) for number in _TITLES]


def project(number: int) -> dict[str, Any]:
    """Return one project. Raises :class:`RefusedError` with 403 for the one without a role and 404 for unknown ones."""
    if number == FORBIDDEN_PROJECT:
        raise RefusedError(403, {"detail": "You do not have permission to perform this action."})
    if number not in _TITLES:
        raise not_found()
    return {
        "id": number,
        "title": _TITLES[number],
        "description": "",
        "category": "image",
        "data_collection": COLLECTION,
        "is_archived": False,
        "access_level": "private",
        "configuration": configuration(),
        "settings": {},
        "created": _CREATED,
    }


def projects_v2(records: int) -> list[dict[str, Any]]:
    """Return the projects as the v2 API lists them."""
    return [
        {"id": number, "title": title, "category": "image", "category_display": "이미지", "created": _CREATED}
        | {"is_archived": False, "task_count": records if number == PROJECT else 0}
        for number, title in _TITLES.items()
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
    owners = {DATASET: PROJECT, OTHER_DATASET: OTHER_PROJECT}
    if number not in owners:
        raise RefusedError(404, {"error": {"code": "NOT_FOUND", "message": "Not found.", "details": []}})
    return {"id": number, "name": f"dataset-{number}", "project_id": owners[number], "created": _CREATED}


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
    return [{"id": number, "name": f"tag-{number}", "project": PROJECT} for number in (1, 2, 3, 4)]


def file_system(location: str) -> dict[str, Any]:
    """Return the provider and configuration of a storage that is a directory of this machine."""
    return {"provider": "file_system", "configuration": {"location": location}}


def storage(number: int, described: Mapping[str, Any], *, configured: bool) -> dict[str, Any]:
    """Return the storage with the ``described`` provider and, if asked for, configuration.

    Raises :class:`RefusedError` with 404.
    """
    if number != STORAGE:
        raise not_found()
    row: dict[str, Any] = {"id": STORAGE, "name": "exports", "category": "internal", "provider": described["provider"]}
    row["is_default"] = True
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
