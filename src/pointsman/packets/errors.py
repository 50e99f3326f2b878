# SPDX-License-Identifier: Apache-2.0
"""The one error of all decoders."""

from __future__ import annotations


class WireError(Exception):
    """Bytes from the network that are not what they should be. The only exception that decoders raise."""
