# SPDX-License-Identifier: Apache-2.0
"""Laboratory on one machine: namespaces, topologies, traffic and a demo. See docs/lab.md."""

from pointsman.lab.errors import LabError
from pointsman.lab.lab import Lab

__all__ = ["Lab", "LabError"]
