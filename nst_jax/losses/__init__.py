"""What is compared: the terms of the loss, one file each, on arrays; and whose numbers the weights are."""
