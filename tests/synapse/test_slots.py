"""The two bounds hold, in the right order, whatever is cancelled meanwhile."""

import asyncio

import pytest

from pipeline.synapse.event_loop import together
from pipeline.synapse.slots import ByteBudget, Slots


def test_the_lowest_rank_goes_first_and_within_it_the_first():
    async def scenario():
        slots, order = Slots(1), []

        async def work(name, rank):
            async with slots.held(rank):
                order.append(name)
                await asyncio.sleep(0)

        await slots.acquire(0)
        tasks = [asyncio.create_task(work(*item)) for item in (("page", 2), ("a", 1), ("b", 1), ("reissued", 0))]
        await asyncio.sleep(0.01)
        slots.release()
        await asyncio.gather(*tasks)
        return order

    assert asyncio.run(scenario()) == ["reissued", "a", "b", "page"]


def test_a_cancelled_waiter_loses_no_slot():
    async def scenario():
        slots = Slots(1)
        await slots.acquire(0)
        waiting = [asyncio.create_task(slots.acquire(0)) for _ in range(3)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        await asyncio.sleep(0)
        slots.release()
        waiting[1].cancel()  # after the slot was given to it
        await asyncio.sleep(0.01)
        async with asyncio.timeout(1):
            await waiting[2]
            slots.release()
            await slots.acquire(0)

    asyncio.run(scenario())


def test_no_more_bytes_are_held_than_allowed_but_one_large_item_alone():
    async def scenario():
        budget = ByteBudget(100)
        most = held = 0

        async def work(size):
            nonlocal most, held
            async with budget.lease() as lease:
                await lease.hold(size)
                held += size
                most = max(most, held)
                await asyncio.sleep(0.001)
                held -= size

        async with asyncio.timeout(5):
            await together(work(size) for size in [40, 40, 40, 250, 10, 100, 60, 60])
        return most

    assert asyncio.run(scenario()) == 250


def test_a_lease_that_holds_anew_gives_back_what_it_held():
    async def scenario():
        budget = ByteBudget(100)
        async with asyncio.timeout(1):
            async with budget.lease() as lease:
                await lease.hold(80)
                await lease.hold(90)
                lease.grow(500)
                lease.grow(10)
            async with budget.lease() as lease:
                await lease.hold(100)

    asyncio.run(scenario())


def test_a_cancelled_wait_for_bytes_holds_up_nobody():
    async def scenario():
        budget = ByteBudget(100)
        await budget.take(100)
        first, second = (asyncio.create_task(budget.take(size)) for size in (90, 50))
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.sleep(0)
        budget.give(100)
        async with asyncio.timeout(1):
            await second

    asyncio.run(scenario())


def test_the_first_error_cancels_the_rest_and_is_raised_as_itself():
    finished = []

    async def fail():
        raise LookupError("this one")

    async def wait():
        await asyncio.sleep(10)
        finished.append(True)

    with pytest.raises(LookupError, match="this one"):
        asyncio.run(together([wait(), fail(), wait()]))
    assert not finished
