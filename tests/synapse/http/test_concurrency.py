"""The two bounds hold, in the right order, whatever is cancelled meanwhile."""

import asyncio

import pytest

from pipeline.synapse.http.byte_budget import ByteBudget
from pipeline.synapse.http.event_loop import gather
from pipeline.synapse.http.request_slots import Slots


def test_the_lowest_rank_goes_first_and_within_it_the_first():
    async def scenario():
        slots, order = Slots(1), []

        async def work(name, rank):
            async with slots.hold(rank):
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
            await gather(work(size) for size in [40, 40, 40, 250, 10, 100, 60, 60])
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
        asyncio.run(gather([wait(), fail(), wait()]))
    assert not finished


# Following the server


async def work(slots, answers, seconds=0.001):
    """Make one request for each of ``answers``, "good" or "bad"; return how many were in flight at most."""
    in_flight = most = 0

    async def one(answer):
        nonlocal in_flight, most
        async with slots.hold(0) as slot:
            in_flight += 1
            most = max(most, in_flight)
            await asyncio.sleep(seconds)
            in_flight -= 1
            if answer == "bad":
                slot.report_trouble()
            else:
                slot.report_success()

    await gather(one(answer) for answer in answers)
    return most


def test_trouble_halves_what_is_in_flight_once_for_all_that_was_on_its_way():
    async def scenario():
        slots = Slots(16)
        found = []
        for _ in range(6):
            await work(slots, ["bad"] * slots.allowed)
            found.append(slots.allowed)
        return found, await work(slots, ["good"])

    assert asyncio.run(scenario()) == ([8, 4, 2, 1, 1, 1], 1)


def test_each_round_of_good_answers_adds_one_until_all_slots_are_back():
    async def scenario():
        slots = Slots(8)
        await work(slots, ["bad"] * 8)
        found = []
        while slots.allowed < 8 and len(found) < 20:
            await work(slots, ["good"] * slots.allowed)
            found.append(slots.allowed)
        return found, await work(slots, ["good"] * 50)

    found, most = asyncio.run(scenario())
    assert found == sorted(found)
    assert found[0] <= 5
    assert found[-1] == most == 8


def test_answers_that_were_on_their_way_before_say_nothing_about_what_came_of_it():
    async def scenario():
        slots = Slots(4)
        old = [await slots.acquire(0) for _ in range(4)]
        slots.report_trouble(old[0])
        for halvings in old:
            slots.report_trouble(halvings)
            slots.report_success(halvings)
        return slots.allowed

    assert asyncio.run(scenario()) == 2


def test_in_a_pause_nobody_gets_a_slot_and_the_longest_counts():
    async def scenario():
        loop, slots = asyncio.get_running_loop(), Slots(1)
        began = loop.time()
        async with slots.hold(0):
            waiting = asyncio.create_task(slots.acquire(0))  # in the queue before the pause
            await asyncio.sleep(0)
            slots.pause(0.2)
            slots.pause(0.01)
        late = asyncio.create_task(slots.acquire(0))
        async with asyncio.timeout(5):
            await waiting
            first = loop.time() - began
            slots.release()
            await late
        return first

    assert asyncio.run(scenario()) >= 0.2
