"""The commands gan-train and gan-eval: their options, what they print, and how every command ends."""
