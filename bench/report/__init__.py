"""What the benchmarks found, as text, tables and plots. Reads JSON, and needs none of what is measured."""
