"""The frozen types everything else speaks: no I/O, no clock, no logic beyond their own invariants."""
