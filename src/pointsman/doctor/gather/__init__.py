# SPDX-License-Identifier: Apache-2.0
"""Readers of facts about this host, its director and its network."""
