from __future__ import annotations

import os
import threading

from redqueue.client.lanes import producer


def test_a_lane_is_used_by_one_call_at_a_time_and_then_again() -> None:
    ours = producer()
    first, second = ours.take(), ours.take()
    assert first != second
    ours.give_back(first)
    assert ours.take() == first
    ours.give_back(first)
    ours.give_back(second)


def test_numbers_only_grow() -> None:
    ours = producer()
    assert next(ours.numbers) < next(ours.numbers)


def test_threads_never_share_a_lane() -> None:
    ours, taken, lock, together = producer(), list[str](), threading.Lock(), threading.Barrier(8)

    def take() -> None:
        together.wait()
        for _ in range(200):
            lane = ours.take()
            with lock:
                taken.append(lane)

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(taken)) == len(taken) == 1600
    for lane in taken:
        ours.give_back(lane)


def test_a_forked_child_is_another_producer() -> None:
    lane = producer().take()
    producer().give_back(lane)
    read, write = os.pipe()
    child = os.fork()
    if not child:
        os.write(write, producer().take().encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        assert pipe.read().decode().split(":")[0] != producer().id
