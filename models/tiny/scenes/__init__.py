"""The drawn streets: which visitors come when, how they look, and questions about them with their true answers."""
