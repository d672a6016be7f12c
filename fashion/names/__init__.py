"""Names beside photos: their label words masked, the rest a model's second source."""
