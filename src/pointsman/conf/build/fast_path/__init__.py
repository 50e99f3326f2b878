"""The fast path: build similar virtual servers with compiled functions."""
