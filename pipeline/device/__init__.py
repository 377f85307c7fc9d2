"""The engine of one device: the clips it ingests, the memories it holds, the questions it answers."""
