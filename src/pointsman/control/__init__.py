"""How a running director is asked: messages, framing, socket, client."""
