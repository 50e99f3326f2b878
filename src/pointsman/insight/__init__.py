"""Seeing what happens: one connection hop by hop."""
