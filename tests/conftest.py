# SPDX-License-Identifier: Apache-2.0
"""Fixtures and hooks of all tests."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# On a busy machine any example may take long; by default Hypothesis calls one of more than 200 ms a failure.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")
