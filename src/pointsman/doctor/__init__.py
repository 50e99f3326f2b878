"""The doctor: find problems of direct routing on this host and their remedies."""
