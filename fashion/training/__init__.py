"""The model in training: its steps, its record, its folder."""
