"""Topologies of the lab, and the types that describe them."""
