"""custom_async_task runs a registered coroutine, and nothing else."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from redqueue.context import JobContext
from redqueue.errors import Discard, InvalidArguments, InvalidName, RegistrationError
from redqueue.tasks.routines import CustomAsyncTask
from redqueue.testing import job_context


class Invoice(msgspec.Struct):
    number: int


async def close_invoice(invoice: Invoice, context: JobContext) -> str:
    return f"{invoice.number} by {context.user_id} of {context.given['source']}"


async def anything(data: Any) -> Any:
    return data


def plain(data: Any) -> Any:
    return data


task = CustomAsyncTask({"close-invoice": close_invoice, "anything": anything})


async def test_a_routine_gets_its_data_decoded_and_the_context() -> None:
    context = job_context(user_id="u", given={"source": "upload"})
    assert await task("close-invoice", {"number": 17}, context) == "17 by u of upload"
    assert await task("anything", None, context) is None


@pytest.mark.parametrize("data", [{}, {"number": "17"}, {"number": 1, "more": 2}, None])
async def test_data_that_does_not_fit_is_refused_before_it_is_entered(data: Any) -> None:
    with pytest.raises(InvalidArguments, match=r"close_invoice: \$"):
        await task("close-invoice", data, job_context())


@pytest.mark.parametrize("task_id", ["os.system", "", "close_invoice", "__class__"])
async def test_an_unknown_routine_fails_at_once_and_says_what_there_is(task_id: str) -> None:
    with pytest.raises(Discard, match="there are: anything, close-invoice"):
        await task(task_id, None, job_context())


def test_only_coroutines_with_good_names_are_taken() -> None:
    with pytest.raises(RegistrationError, match=r"routine 'plain': .*plain is not async"):
        CustomAsyncTask({"plain": plain})
    with pytest.raises(InvalidName):
        CustomAsyncTask({"a\nb": anything})
