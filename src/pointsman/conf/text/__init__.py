"""Turn files into a tree of blocks: lines, definitions, sequences, tokens."""
