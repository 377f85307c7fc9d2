"""Tensor functions that know no model and no memory: attention, positions, scores, int8 rows, copies to devices."""
