"""The model the project trains itself: its scenes, its questions, its training and its checkpoint."""
