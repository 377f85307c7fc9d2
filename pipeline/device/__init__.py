"""The engine of one device: it ingests clips into camera memories and answers questions about them."""
