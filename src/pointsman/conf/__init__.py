"""keepalived.conf: from text to the model, and back."""
