"""Decodes compressed segments into images of the model's size, with privacy masks, by DALI or libav."""
