"""Readers of facts about this host, its director and its network."""
