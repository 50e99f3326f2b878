"""Parts that the processes of the daemon share: channels, event loop, privileges, programs."""
