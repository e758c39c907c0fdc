"""A user study: one HTML page with its questions, and the statistics of what comes back."""
