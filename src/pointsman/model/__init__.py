# SPDX-License-Identifier: Apache-2.0
"""Frozen types that all other rooms use: no I/O, no clock, no logic except their own invariants."""
