"""The processes of a running director (supervisor, vrrp, director, checker) and their messages."""
