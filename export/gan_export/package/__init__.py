"""From a `Source` to an artifact's folder: its manifest, variants, model card, and the name that it gets at last."""
