"""The command line, one file a verb; `main` lists them."""
