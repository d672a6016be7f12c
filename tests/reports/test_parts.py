import logging
import signal

import pytest

from fashion.reports.parts import Parts


def fail():
    raise RuntimeError("no\n memory")


def test_a_part_that_fails_is_named_and_another_stands_in(caplog):
    caplog.set_level(logging.DEBUG, "fashion.reports.parts")
    parts = Parts()
    assert parts.make("maps", fail, []) == []
    assert parts.make("table", lambda: [1], []) == [1]
    assert parts.failed == {"maps": "RuntimeError: no memory"}
    warning, detail = caplog.records
    assert warning.getMessage() == "The report lacks the maps: RuntimeError: no memory"
    assert detail.exc_info[0] is RuntimeError


@pytest.mark.parametrize("make", [fail, lambda: [1]])
def test_a_process_that_is_asked_to_end_finishes_no_report(make):
    parts = Parts(lambda: True)
    with pytest.raises(SystemExit) as caught:
        parts.make("maps", make, [])
    assert caught.value.code == 128 + signal.SIGTERM
    assert parts.failed == {}
