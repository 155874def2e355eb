"""The first two stages with their cache: what runs, stores and trains on them."""
