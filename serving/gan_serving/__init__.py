"""Serve exported generators over HTTP with BentoML. Torch is never imported here."""
