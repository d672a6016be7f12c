"""Photos kept for review, and what people decided on them."""
