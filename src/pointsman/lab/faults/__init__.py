"""Faults that the lab can cause, and their runner."""
