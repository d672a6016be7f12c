"""From arrays to figures and tables: what predictions are worth."""
