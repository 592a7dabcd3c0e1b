"""Films as files: their frames one after another, and a new film with the sound of the old."""
