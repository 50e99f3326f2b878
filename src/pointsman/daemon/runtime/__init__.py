"""Shared parts of the daemon processes: channels, event loop, privileges, programs."""
