"""Data sets drawn from a generator: any number of images, class-balanced, resumed after any interruption."""
