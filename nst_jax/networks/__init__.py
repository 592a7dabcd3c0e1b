"""What sees: VGG networks as pure functions, and how their convolutions are computed."""
