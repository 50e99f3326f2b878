# SPDX-License-Identifier: Apache-2.0
"""A request to stop unwinds a lab, but waits for the end of a tear-down."""

from __future__ import annotations

import signal

import pytest

from pointsman.lab.interrupts import stopping_unwinds, uninterrupted


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_every_request_to_stop_unwinds_after_the_tear_down(number: signal.Signals) -> None:
    done = []
    with pytest.raises(KeyboardInterrupt), stopping_unwinds():
        with uninterrupted():
            signal.raise_signal(number)
            signal.raise_signal(number)
            done.append("torn down")
        done.append("not reached")
    assert done == ["torn down"]


def test_handlers_are_put_back_also_after_an_error() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(ValueError, match="broken"), stopping_unwinds(), uninterrupted():
        raise ValueError("broken")
    assert signal.getsignal(signal.SIGTERM) is before
