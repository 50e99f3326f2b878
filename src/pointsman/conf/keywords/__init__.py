"""The table of keywords: types, ranges, defaults, help."""
