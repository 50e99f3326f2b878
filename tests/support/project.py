# SPDX-License-Identifier: Apache-2.0
"""The project's folder, and the command that starts its program."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
POINTSMAN = [sys.executable, "-m", "pointsman.cli.main"]
