"""What a request asks for: its fields, checked against a generator and resolved before anything is queued."""
