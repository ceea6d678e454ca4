"""What a site may add: nothing below knows of it."""
