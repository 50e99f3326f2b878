# SPDX-License-Identifier: Apache-2.0
"""Probes: one attempt to check a real server. The rules of each check type are in health/."""
