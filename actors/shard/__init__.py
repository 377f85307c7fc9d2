"""The cameras of one device, and the Ray actor that hosts them."""
