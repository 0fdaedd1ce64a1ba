"""Training, validation and test images that share no ground."""
