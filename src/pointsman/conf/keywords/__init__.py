# SPDX-License-Identifier: Apache-2.0
"""The table of keywords: types, ranges, defaults, help."""
