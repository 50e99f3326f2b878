# SPDX-License-Identifier: Apache-2.0
"""Measurements. `python -m benchmarks NAME` runs one, `python -m benchmarks all` every one."""
