"""The commands gan-export and gan-verify: their options, and what they print."""
