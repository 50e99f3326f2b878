# SPDX-License-Identifier: Apache-2.0
"""Topologies of the lab, and the types that describe them."""
