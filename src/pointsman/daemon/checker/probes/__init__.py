"""One probe of one real server each: how a check is carried out; health/ knows what it means."""
