"""What a worker does before it has imported this package, and sends to it.

Ray lets workers look in the driver's current folder first, where the user may have a package ``pipeline`` of their own.
So :func:`call_task` is sent to them by value, which needs no import; it imports this package from where the driver has
it, and only then reads what the task is given. It must refer to nothing of this package outside its body.
"""

import os
import pickle
import sys


def call_task(home: str, shared: bytes, work: bytes) -> object:
    """What runs as a task: the result of a pickled function, or its error as a value.

    ``home`` is the folder that holds the driver's package. A machine without that folder has its own. ``work`` is the
    pickled function with its input.

    Ray tells the driver of each error that a task raises, and prints a line of its own between ours when the driver
    leaves because of the first of them.
    """
    if "pipeline" not in sys.modules and os.path.isfile(os.path.join(home, "pipeline", "__init__.py")):
        sys.path.insert(0, home)
        try:
            import pipeline  # noqa: F401, PLC0415  its modules are found through it from now on
        finally:
            sys.path.remove(home)
    from pipeline.errors import ExportError  # noqa: PLC0415  not before the line above

    function, item = pickle.loads(work)  # noqa: S301  the driver's own
    try:
        return function(pickle.loads(shared), item)  # noqa: S301  the driver's own
    except ExportError as error:
        return error
