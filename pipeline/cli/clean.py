"""``clean``: remove what dead runs left behind."""

from pipeline.cli.options import AsJson, BreakLock, ExportPlace, FailIfNothing, open_place
from pipeline.errors import NOTHING_TO_DO


def command(
    path: ExportPlace, break_lock: BreakLock = False, fail_if_nothing: FailIfNothing = False, as_json: AsJson = False
) -> int:
    """Remove what dead runs left behind.

    That is staged work, unfinished uploads, and the files of an unfinished export. A finished export is never touched.
    """
    import msgspec

    from pipeline.cli.console import json_text
    from pipeline.commands.clean import clean
    from pipeline.progress import printable

    storage = open_place(path)
    done = clean(storage, break_lock=break_lock)
    parts = [f"{done.files:,} files of an unfinished export"] if done.files else []
    parts += ["staged work"] if done.staging else []
    parts += [f"{done.uploads} unfinished uploads"] if done.uploads else []
    if as_json:
        print(json_text({"url": storage.url, **msgspec.to_builtins(done)}))
    else:
        print(printable(f"{storage.url}: {'removed ' + ', '.join(parts) if parts else 'nothing to remove'}"))
    return NOTHING_TO_DO if fail_if_nothing and not parts else 0
