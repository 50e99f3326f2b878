"""Find what is wrong with direct routing on this host, and what mends it."""
