"""Pointsman: LVS direct routing, whole, with the packet path in the kernel."""

__version__ = "0.1.0"
