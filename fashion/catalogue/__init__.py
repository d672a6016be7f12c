"""Catalogues of photos: read, checked, shared out into splits."""
