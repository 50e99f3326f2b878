# SPDX-License-Identifier: Apache-2.0
"""The fast path: build similar virtual servers with compiled functions."""
