"""The protocol core of BFD: packets and the state machine of a session."""
