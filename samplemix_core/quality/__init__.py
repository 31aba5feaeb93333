"""Quality: from texts to a quality score and its seven dimensions."""
