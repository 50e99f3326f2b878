# SPDX-License-Identifier: Apache-2.0
"""Connections and templates in their external form: names, give and take, the outbox, upgrades."""
