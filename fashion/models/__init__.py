"""Networks: built with timm, cut where gradients stop, read from and written to checkpoints."""
