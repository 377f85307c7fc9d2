"""How many GPUs, how much store and how much network a number of cameras needs, by arithmetic alone."""
