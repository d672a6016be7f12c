"""From a trained model and photos to labels."""
