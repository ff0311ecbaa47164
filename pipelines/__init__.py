"""What runs over documents: curation, and tokens."""
