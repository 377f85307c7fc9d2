"""Ingest in processes of its own: workers that hold no secret but their cameras', and what starts and watches them."""
