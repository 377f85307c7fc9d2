"""Video-language models behind one interface, and how a Hugging Face decoder reads and writes a memory."""
