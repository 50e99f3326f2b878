"""Where the project lies and how its program is started."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
POINTSMAN = [sys.executable, "-m", "pointsman.cli.main"]
