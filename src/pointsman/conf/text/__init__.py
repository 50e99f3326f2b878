# SPDX-License-Identifier: Apache-2.0
"""Turn files into a tree of blocks: lines, definitions, sequences, tokens."""
