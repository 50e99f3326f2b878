# SPDX-License-Identifier: Apache-2.0
"""Trace one connection hop by hop."""
