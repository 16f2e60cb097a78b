"""Checks of the configuration and of the destination that it names."""

import errno
from collections.abc import Iterator

from pipeline.commands.doctor.examination import Examination
from pipeline.commands.doctor.report import Finding, error, failed, ok, skipped, warning
from pipeline.errors import ExportError, PreflightError
from pipeline.storage.store_errors import code_of

_FULL, _LITTLE = 10**6, 10**9
_BUCKET_MAKERS = {"s3": "aws s3 mb s3://{bucket}", "gs": "gcloud storage buckets create gs://{bucket}"}


def check_configuration(examined: Examination) -> Finding:
    """The configuration is right: its keys, its filter, its formats and their options."""
    from pipeline.commands.names import stand_in_filter  # noqa: PLC0415  imports the SDK
    from pipeline.synapse.listing.filters import check_filter  # noqa: PLC0415  imports the SDK

    if examined.path is None:
        return skipped("none was given; with one, what it needs is checked, too: synapse-export doctor my.yaml")
    try:
        config = examined.config
        # The API ignores a key that it does not know, and would give the whole project.
        check_filter(config.target, stand_in_filter(config))
        names = ", ".join(format_.name for format_ in examined.workspace.formats)
    except ExportError as problem:
        return error(str(problem), f"correct {examined.path}")
    return ok(f"{config.name}: {config.target} as {names}")


def check_storage(examined: Examination) -> Finding:
    """A file can be written to the destination, read and deleted; nothing stays."""
    from pipeline.stages.preflight import check_place  # noqa: PLC0415  imports the SDK

    try:
        check_place(examined.destination)
        examined.destination.storage.probe()
    except ExportError as problem:
        return failed(problem, _storage_fix(examined, problem))
    return ok(f"{examined.destination.storage.url}: a file was written, read and deleted")


def _storage_fix(examined: Examination, problem: ExportError) -> str:
    config = examined.config
    elsewhere = examined.command("run", str(examined.path), "--set", "path=ANOTHER")
    if config.storage is not None and isinstance(problem, PreflightError) and problem.args[0] != config.path:
        return examined.command("storages")
    url = config.path
    protocol, _, rest = url.partition("://") if "://" in url else ("", "", "")
    numbers = {link.errno for link in _chain(problem) if isinstance(link, OSError)}
    if numbers & {errno.ENOSPC, errno.EDQUOT}:
        return f"df -h {url}, make room, or {elsewhere}"
    if any(code_of(link) == "NoSuchBucket" for link in _chain(problem)) and protocol in _BUCKET_MAKERS:
        return f"{_BUCKET_MAKERS[protocol].format(bucket=rest.partition('/')[0])}, or {elsewhere}"
    if not protocol:
        return f"chmod u+w the folder, or {elsewhere}"
    return problem.parts[1]


def _chain(link: BaseException | None) -> Iterator[BaseException]:
    while link is not None:
        yield link
        link = link.__cause__ or link.__context__


def check_space(examined: Examination) -> Finding:
    """There is room at the destination, where that is known."""
    try:
        storage = examined.destination.storage
        free = storage.free_bytes()
    except (ExportError, OSError) as problem:
        return skipped(f"the destination cannot be opened: {problem}")
    if free is None:
        return skipped("an object store does not say how much room it has")
    told = f"{free / 1e9:,.1f} GB free" if free >= _LITTLE else f"{free / 1e6:,.1f} MB free"
    fix = f"df -h {storage.url}, and what the export needs: {examined.command('plan', str(examined.path))}"
    if free < _FULL:
        return error(f"{told}: the disk is full", fix)
    if free < _LITTLE:
        return warning(told, fix)
    return ok(told)
