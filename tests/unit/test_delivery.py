"""Records handed on by a thread: once each through outages, past what is refused, and not for ever."""

import threading
from collections.abc import Iterable
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE, TEMPORARILY_UNAVAILABLE

from facap.train import delivery
from facap.train.delivery import Call, Delivery, Record, is_outage

OUTAGES = [
    ConnectionRefusedError("nobody listens"),
    TimeoutError("no answer"),
    MlflowException("the database is locked", TEMPORARILY_UNAVAILABLE),
    MlflowException("API request to http://x failed"),
]
REFUSAL = MlflowException("no such metric", INVALID_PARAMETER_VALUE)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "POLL_S", 0.005)
    monkeypatch.setattr(delivery, "LONGEST_S", 0.001)


class Receiver:
    """Takes numbers; before each of its answers it fails as `faults` say."""

    def __init__(self, faults: Iterable[Exception | None] = ()) -> None:
        self.records: list[Record] = []
        self.taken: list[int] = []
        self.said: list[str] = []
        self.faults = list(faults)

    def since(self, first: int) -> list[Record]:
        return self.records[first:]

    def calls(self, records: list[Record]) -> list[Call]:
        return [partial(self.take, values["n"]) for _, values in records]

    def take(self, number: int) -> None:
        fault = self.faults.pop(0) if self.faults else None
        if fault is not None:
            raise fault
        self.taken.append(number)

    def delivery(self) -> Delivery:
        return Delivery("MLflow", self.since, self.calls, self.said.append)


def numbered(count: int) -> list[Record]:
    return [("step", {"n": n}) for n in range(count)]


@settings(deadline=None)
@given(st.integers(0, 30), st.lists(st.one_of(st.none(), st.sampled_from(OUTAGES)), max_size=40))
def test_through_any_outages_each_record_arrives_once_and_in_order(count: int, faults: list[Any]):
    receiver = Receiver(faults)
    handing = receiver.delivery()
    handing.start()
    for record in numbered(count):
        receiver.records.append(record)
    ended: list[str] = []
    assert handing.finish(60.0, [partial(ended.append, "FINISHED")])
    assert receiver.taken == list(range(count)) and ended == ["FINISHED"]
    troubles = sum("fails" in text for text in receiver.said)
    assert troubles == sum("answers again" in text for text in receiver.said)
    assert troubles <= sum(fault is not None for fault in faults)


def test_an_outage_is_said_once_however_long_it_is():
    receiver = Receiver([OUTAGES[0]] * 50)
    receiver.records = numbered(3)
    handing = receiver.delivery()
    handing.start()
    assert handing.finish(60.0)
    assert receiver.taken == [0, 1, 2]
    assert [text.split(" (")[0] for text in receiver.said] == [
        "MLflow fails",
        "MLflow answers again; what it had missed is there now",
    ]
    assert "ConnectionRefusedError: nobody listens" in receiver.said[0]


@pytest.mark.parametrize("fault", [REFUSAL, ValueError("a defect in the drawing")])
def test_what_is_refused_again_and_again_is_left_out_and_said(fault: Exception):
    receiver = Receiver([None, *[fault] * delivery.TRIES])
    receiver.records = numbered(3)
    handing = receiver.delivery()
    handing.start()
    assert handing.finish(60.0)
    assert receiver.taken == [0, 2]
    assert sum("refuses a record" in text for text in receiver.said) == 1


def test_an_end_without_an_answer_comes_all_the_same():
    receiver = Receiver([OUTAGES[0]] * 10_000_000)
    receiver.records = numbered(2)
    handing = receiver.delivery()
    handing.start()
    assert not handing.finish(0.5, [partial(receiver.taken.append, 99)])
    assert receiver.taken == []
    handing._thread.join(timeout=60)
    assert not handing._thread.is_alive()


def test_a_receiver_that_hangs_does_not_keep_the_end_waiting():
    free = threading.Event()
    handing = Delivery("MLflow", lambda first: numbered(1)[first:], lambda _: [free.wait], print)
    handing.start()
    assert not handing.finish(0.2)
    free.set()


def test_where_the_records_are_gone_the_end_is_told_after_a_few_tries():
    def gone(first: int) -> list[Record]:
        raise RuntimeError("the actor died")

    said: list[str] = []
    ended: list[str] = []
    handing = Delivery("MLflow", gone, lambda records: [], said.append)
    handing.start()
    assert handing.finish(60.0, [partial(ended.append, "FAILED")])
    assert ended == ["FAILED"]
    assert said == [
        "MLflow fails (RuntimeError: the actor died); training goes on, and what is missing follows",
        "the last records for MLflow cannot be read (RuntimeError: the actor died)",
    ]


def test_no_records_make_no_calls_and_an_end_with_nothing_left_comes_at_once():
    records, sizes = numbered(3), list[int]()
    handing = Delivery(
        "train.log", lambda first: records[first:], lambda some: [partial(sizes.append, len(some))], print
    )
    handing.start()
    assert handing.finish(60.0)
    assert sizes == [3]


def test_a_closed_screen_does_not_end_it():
    def closed(text: str) -> None:
        raise ValueError("I/O operation on closed file")

    receiver = Receiver([OUTAGES[0], None, OUTAGES[0]])
    receiver.records = numbered(3)
    handing = Delivery("MLflow", receiver.since, receiver.calls, closed)
    handing.start()
    assert handing.finish(60.0) and receiver.taken == [0, 1, 2]


def test_outages_are_told_from_refusals():
    assert all(is_outage(error) for error in OUTAGES)
    assert not is_outage(REFUSAL) and not is_outage(ValueError())
