"""The kernel's network state over netlink, and raw packet sockets."""
