# SPDX-License-Identifier: Apache-2.0
"""From the tree to the model."""
