"""The same generator behind other people's servers, each the way its own documentation shows."""
