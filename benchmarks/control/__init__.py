# SPDX-License-Identifier: Apache-2.0
"""Measure the control plane by the size of the table, beside keepalived and ipvsadm."""

from benchmarks.control.report import main

__all__ = ["main"]
