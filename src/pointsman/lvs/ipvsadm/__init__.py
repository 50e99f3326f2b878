"""ipvsadm's own language: its command line (arguments), its errors and its listing, for any data plane."""
