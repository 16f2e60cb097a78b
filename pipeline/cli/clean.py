"""``clean``: remove what dead runs left behind."""

from pipeline.cli.options import BreakLock, ExportPlace, open_place


def command(path: ExportPlace, break_lock: BreakLock = False) -> None:
    """Remove what dead runs left behind.

    That is staged work, unfinished uploads, and the files of an unfinished export. A finished export is never touched.
    """
    from pipeline.commands.clean import clean
    from pipeline.progress import printable

    storage = open_place(path)
    done = clean(storage, break_lock=break_lock)
    parts = [f"{done.files:,} files of an unfinished export"] if done.files else []
    parts += ["staged work"] if done.staging else []
    parts += [f"{done.uploads} unfinished uploads"] if done.uploads else []
    print(printable(f"{storage.url}: {'removed ' + ', '.join(parts) if parts else 'nothing to remove'}"))
