"""What the work of one device takes beside bare forward passes of transformers."""
