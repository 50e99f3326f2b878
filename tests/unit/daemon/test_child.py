# SPDX-License-Identifier: Apache-2.0
"""Exit codes of a start, and the state of a process in words."""

from __future__ import annotations

import errno
import os

import pytest

from pointsman.daemon.child import EXIT_ENVIRONMENT, EXIT_FAILURE, exit_code_of, kernel_state


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENOSPC, errno.EAGAIN, errno.ENOMEM])
def test_an_error_that_a_restart_may_mend_does_not_keep_systemd_from_restarting(number: int) -> None:
    assert exit_code_of(OSError(number, "text")) == EXIT_FAILURE


@pytest.mark.parametrize(
    "error", [OSError(errno.EPERM, "text"), OSError(errno.ENODEV, "text"), ValueError("text")]
)
def test_any_other_error_is_one_of_this_host(error: Exception) -> None:
    assert exit_code_of(error) == EXIT_ENVIRONMENT


def test_the_state_of_a_process_is_in_the_words_of_the_kernel() -> None:
    assert kernel_state(os.getpid()) == "R (running)"
    assert kernel_state(2**30) == "unknown"
