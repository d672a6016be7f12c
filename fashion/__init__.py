"""Train, compare and put to use classifiers of product photos.

Shapes in docstrings use these letters throughout: `N` items, `B` the items of a batch, `K` classes,
and `C H W` the channels, height and width of an image.
"""
