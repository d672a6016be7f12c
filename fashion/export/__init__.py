"""From checkpoints to a bundle, and the proof that it labels as they do."""
