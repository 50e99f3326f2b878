"""ipvsadm's language for any data plane: command line, errors and listings."""
