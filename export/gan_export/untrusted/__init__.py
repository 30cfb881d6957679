"""Files that nobody vouches for: a process of their own that reads them, and how they are told of."""
