"""HTTP over a bundle: photos in, labels out."""
