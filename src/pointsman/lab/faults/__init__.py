"""Faults that the laboratory can make, and their runner."""
