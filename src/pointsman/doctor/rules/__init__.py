"""Rules of the doctor. Pure: facts in, findings out."""
