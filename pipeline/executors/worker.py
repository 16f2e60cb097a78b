"""What a worker does before it has imported this package: one task of Ray's, or a process of our own pool.

Both start where the user may have a package ``pipeline`` of their own (Ray lets workers look in the driver's current
folder first). So this module refers to nothing of this package outside its functions: it imports the package from where
the driver has it, and only then reads what a task is given. To Ray's workers :func:`call_tasks` is sent by value, and a
process of the pool runs this file.
"""

import importlib
import os
import pickle
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection

_MOST_THREADS = 64


def call_tasks(home: str, shared: bytes, works: list[bytes], lanes: int) -> list[object]:
    """What runs as a task of Ray's: pickled functions with their inputs, ``lanes`` at once; the outcome of each.

    ``home`` is the folder that holds the driver's package. A machine without that folder has its own.
    """
    if "pipeline" not in sys.modules and os.path.isfile(os.path.join(home, "pipeline", "__init__.py")):
        sys.path.insert(0, home)
        try:
            import pipeline  # noqa: F401, PLC0415  its modules are found through it from now on
        finally:
            sys.path.remove(home)
    from pipeline.errors import ExportError  # noqa: PLC0415  not before the line above

    def call(work: bytes) -> object:
        # Ray tells the driver of each error that a task raises, and prints a line of its own between ours when the
        # driver leaves because of the first of them. So an error that the driver expects is an outcome like another.
        function, item = pickle.loads(work)  # noqa: S301  the driver's own
        try:
            return function(pickle.loads(shared), item)  # noqa: S301  the driver's own
        except (ExportError, MemoryError) as error:
            return error

    if len(works) == 1:
        return [call(works[0])]
    with ThreadPoolExecutor(lanes) as threads:
        return list(threads.map(call, works))


def main() -> None:
    """Serve the driver that started this process: ``worker.py DESCRIPTOR``, the end of a connection to it.

    The first message is the folder of the driver's package, where the driver looks for modules, and what to import
    before the first task comes.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the driver, which ends its workers
    connection = Connection(int(sys.argv[1]))
    home, path, modules = connection.recv()
    sys.path[:] = [home, *path]
    import pipeline  # noqa: F401, PLC0415  its modules are found through it from now on

    sys.path[:] = path
    for module in modules:
        importlib.import_module(module)
    connection.send((None, True, None))  # it begins to work
    serve(connection, home)


def serve(connection: Connection, home: str) -> None:
    """Run the tasks that come over ``connection``, each in a thread, until the driver closes it or ends.

    A message is a number, which of the shared values the task gets, and its pickled function with its input; the shared
    values come in a message of their own. The answer is the number, whether the task returned, and its result or the
    error that it raised.
    """
    sending = threading.Lock()
    shared: dict[str, bytes] = {}

    def work(number: int, share: bytes, task: bytes) -> None:
        answer = _outcome(number, lambda: call_tasks(home, share, [task], 1)[0])
        with sending:
            connection.send_bytes(answer)

    with ThreadPoolExecutor(_MOST_THREADS) as threads:
        while True:  # until the driver closes the connection
            try:
                message = connection.recv()
            except (EOFError, OSError):
                os._exit(1)  # at once: what a task still writes is written again by the next run
            if message[0] == "share":
                shared = message[1]
            else:
                number, share, task = message
                threads.submit(work, number, shared[share], task)


def _outcome(number: int, call: Callable[[], object]) -> bytes:
    """The answer to send: an error that cannot be sent is sent as its text."""
    value: object
    try:
        value, returned = call(), True
    except BaseException as error:  # noqa: BLE001  handed to the driver, which raises it
        value, returned = error, False
    try:
        return pickle.dumps((number, returned, value))
    except Exception as error:  # noqa: BLE001  whatever an object's own code raises
        text = "".join(traceback.format_exception(value)) if isinstance(value, BaseException) else str(error)
        return pickle.dumps((number, False, RuntimeError(text)))


if __name__ == "__main__":
    main()
