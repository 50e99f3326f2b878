# SPDX-License-Identifier: Apache-2.0
"""Screens of text for a terminal, and lines for a pipe."""
