"""Quality, scored: Arrow arrays of texts come in; a quality and its seven dimensions for each go out."""
