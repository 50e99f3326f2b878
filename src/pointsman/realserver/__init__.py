"""A real server of direct routing: the VIP on lo, ARP rules that keep it silent, and files to keep them."""
