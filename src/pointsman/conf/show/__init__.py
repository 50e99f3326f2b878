"""From the model back to text."""
