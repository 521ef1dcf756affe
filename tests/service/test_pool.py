"""Retry-After is true: whoever comes again when told finds room, also among clients that never pause."""

import heapq
from contextlib import ExitStack

import numpy as np
import pytest

from service import pool
from service.errors import Problem


def simulated(
    monkeypatch: pytest.MonkeyPatch, clients: int, queue: int, seconds: float, duration: float = 60
) -> list[bool]:
    """Whether those who were told to come again found room, of `clients` that post one request after the
    other and wait only when told. seconds: of an answer. The clock is the simulation's."""
    now = 0.0
    monkeypatch.setattr(pool.time, "monotonic", lambda: now)
    work = pool.Work(queue, 30)
    work._seconds = seconds
    generator = np.random.default_rng(0)
    free = [0.0] * pool.WORKERS  # when each worker is done
    held: dict[int, ExitStack] = {}
    tries = []
    # Each event: when, whose, and whether it is an arrival after a wait, another arrival, or an answer.
    events = [(float(generator.uniform(0, 0.1)), number, "first") for number in range(clients)]
    heapq.heapify(events)
    while events:
        now, client, event = heapq.heappop(events)
        if now > duration:
            break
        if event == "answer":
            held.pop(client).close()
            heapq.heappush(events, (now + generator.uniform(0, 0.01), client, "first"))
            continue
        stack = ExitStack()
        try:
            stack.enter_context(work.admitted())
        except Problem as problem:
            wait = int(problem.headers["Retry-After"])
            heapq.heappush(events, (now + wait + generator.uniform(0, 0.02), client, "told"))
        else:
            held[client] = stack
            start = max(now, heapq.heappop(free))
            done = start + seconds * generator.uniform(0.7, 1.3)
            heapq.heappush(free, done)
            heapq.heappush(events, (done, client, "answer"))
        if event == "told":
            tries.append(client in held)
    work.close()
    return tries


@pytest.mark.parametrize(
    ("clients", "queue", "seconds"),
    [(80, 64, 0.01), (200, 64, 0.01), (40, 18, 0.02), (100, 64, 0.2), (20, 2, 0.05)],
)
def test_room_is_found_after_the_time_stated(
    monkeypatch: pytest.MonkeyPatch, clients: int, queue: int, seconds: float
) -> None:
    tries = simulated(monkeypatch, clients, queue, seconds)
    assert len(tries) > 10
    assert np.mean(tries) >= 0.9


def test_the_workers_stay_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Places that are kept for others cost no throughput."""
    tries = simulated(monkeypatch, 100, 64, 0.01)
    assert len(tries) < 60 * pool.WORKERS / 0.01 / 2
