"""Read the facts of this host, its director and its network."""
