"""Self-contained HTML pages, of a run and of an evaluation: their templates, curves, and the measures on them."""
