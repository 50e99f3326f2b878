"""How a running director is asked."""
