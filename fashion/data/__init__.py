"""What training reads: packed photos, stored features, and batches of both."""
