# SPDX-License-Identifier: Apache-2.0
"""Pointsman: an LVS direct-routing load balancer with its packet path in the kernel."""

__version__ = "0.1.0"
"""The only place of the version: pyproject.toml and `pointsman --version` read it."""
