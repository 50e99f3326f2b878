"""The rules of the doctor: facts in, findings out. Pure."""
