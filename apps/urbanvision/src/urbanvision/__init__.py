"""urbanvision."""
