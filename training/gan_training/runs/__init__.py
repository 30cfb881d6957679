"""A run and its folder: started, gone on with, watched, and stopped by what its owner or its numbers say."""
