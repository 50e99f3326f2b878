# SPDX-License-Identifier: Apache-2.0
"""Errors of the lab."""

from __future__ import annotations


class LabError(Exception):
    """The lab cannot do what was asked. The text says what failed, where, and what to do."""
