"""The director process: service table, data plane, status, reload, mail."""
