"""Follow one connection hop by hop."""
