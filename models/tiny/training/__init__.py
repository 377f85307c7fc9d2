"""How the tiny model is trained and evaluated."""
