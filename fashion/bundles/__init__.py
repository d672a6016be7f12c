"""Bundles: a trained model as a folder that labels photos anywhere."""
