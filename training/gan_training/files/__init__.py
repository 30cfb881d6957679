"""Files on disk: written whole, locked, and a folder for those that can be made again."""
