"""From a file of any kind to a `Source`: a generator and all that the manifest says of it."""
