"""Windows of images for learning: drawn, read with their labels, changed at random, batched."""
