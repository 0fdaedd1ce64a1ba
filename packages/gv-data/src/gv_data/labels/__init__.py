"""What is true of the pixels of an image: polygons, masks, and the counts of both."""
