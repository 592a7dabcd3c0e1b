"""What sees: VGG networks as pure functions on images, and how their convolutions are computed."""
