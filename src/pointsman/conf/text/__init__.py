"""From files to a tree of blocks: lines, tokens, definitions, sequences."""
