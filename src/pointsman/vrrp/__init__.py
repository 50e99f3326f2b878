"""The protocol core of VRRP: adverts and the state machine of an instance."""
