"""Trace one connection hop by hop."""
