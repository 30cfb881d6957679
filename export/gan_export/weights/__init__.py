"""From what a weights file holds to the plain weights of one net."""
