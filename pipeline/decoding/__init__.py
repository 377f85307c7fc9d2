"""From compressed segments to images of the model's size, masked, by DALI or libav."""
