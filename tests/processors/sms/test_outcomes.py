"""What is checkpointed and what is answered: true, and never too large."""

from __future__ import annotations

import msgspec
import pytest

from redqueue.core.report import state_text
from redqueue.defaults import MAX_PAYLOAD
from redqueue.errors import Discard
from redqueue.processors.sms.numbers import Contact
from redqueue.processors.sms.outcomes import Outcomes, clipped
from redqueue.shapes import MOST_RECIPIENTS

LONGEST_NUMBER = "+" + "1" * 15


def contacts(total: int) -> list[Contact]:
    return [Contact(place, LONGEST_NUMBER, None, place) for place in range(total)]


def test_a_checkpoint_brings_back_what_it_was_made_of() -> None:
    outcomes = Outcomes(5)
    outcomes.sent(0, "id-0")
    outcomes.sent(1, None)
    outcomes.refused(3, "gone\naway")
    again = Outcomes.restored(5, msgspec.json.decode(state_text(outcomes.state())))
    assert [again.has(place) for place in range(5)] == [True, True, False, True, False]
    again.sent(2, "id-2")
    again.sent(4, "id-4")
    result = again.result(contacts(5), 1)
    assert [(one.status, one.message_id, one.error) for one in result.results] == [
        ("sent", "id-0", None),
        ("sent", None, None),
        ("sent", "id-2", None),
        ("failed", None, "gone\\naway"),
        ("sent", "id-4", None),
    ]
    assert (result.total, result.successful, result.failed) == (5, 4, 1)


def test_an_empty_checkpoint_is_one() -> None:
    assert not Outcomes.restored(3, msgspec.to_builtins(Outcomes(3).state())).has(0)


@pytest.mark.parametrize(
    "state", [7, "x", {"n": 4}, {"sms": 1}, {"sms": "x"}, {"sms": "s\ns\ns\ns"}, {"sms": ["s"]}, [], {}]
)
def test_a_checkpoint_of_another_processor_is_refused(state: object) -> None:
    with pytest.raises(Discard, match="another processor"):
        Outcomes.restored(3, state)


@pytest.mark.parametrize("text", ["x" * 700, "\x00" * 700, "😀" * 700])
@pytest.mark.parametrize("total", [1, MOST_RECIPIENTS])
def test_the_longest_of_everything_fits_a_result_and_a_checkpoint(total: int, text: str) -> None:
    for kind in ("sent", "refused", "bad"):
        outcomes, given = Outcomes(total), contacts(total)
        for place in range(total):
            if kind == "sent":
                outcomes.sent(place, text)
            elif kind == "refused":
                outcomes.refused(place, text)
            else:
                given[place] = Contact(place, text[:64], "longer than E.164", place)
        assert len(state_text(outcomes.state())) <= MAX_PAYLOAD
        encoded = msgspec.json.encode(outcomes.result(given, 99))
        assert len(encoded) <= MAX_PAYLOAD, kind
        assert msgspec.json.decode(encoded)["results"][0]["to"]


def test_an_id_of_usual_length_is_kept_whole_even_among_ten_thousand() -> None:
    outcomes = Outcomes(MOST_RECIPIENTS)
    outcomes.sent(0, "i" * 60)
    assert outcomes.result(contacts(MOST_RECIPIENTS), 1).results[0].message_id == "i" * 60


def test_what_an_earlier_run_sent_counts_although_the_number_is_now_refused() -> None:
    outcomes = Outcomes(1)
    outcomes.sent(0, "id")
    (delivery,) = outcomes.result([Contact(0, "0151 2345", "no such number", 0)], 1).results
    assert (delivery.to, delivery.status, delivery.message_id) == ("0151 2345", "sent", "id")


def test_text_is_cut_by_its_length_in_json() -> None:
    assert clipped("abc", 2) == "ab"
    assert clipped("é", 1) == ""
    assert clipped("a\x00b", 6) == "a"
    assert clipped("\ud800", 10) == "\\ud800"
