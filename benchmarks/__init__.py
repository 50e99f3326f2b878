"""Measurements. `python -m benchmarks NAME` runs one, `python -m benchmarks all` every one."""
