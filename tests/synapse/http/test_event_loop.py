"""The loop of a client ends, whatever else was put into it."""

import asyncio

from pipeline.synapse.http.event_loop import ClientLoop


def test_a_task_that_does_not_end_does_not_keep_the_loop_from_closing():
    loop, cancelled = ClientLoop(), []

    async def stubborn() -> None:
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled.append(True)

    async def leave_it_behind() -> None:
        task = asyncio.get_running_loop().create_task(stubborn())
        await asyncio.sleep(0)
        assert not task.done()

    loop.run(leave_it_behind())
    loop.close()
    assert cancelled == [True]
