"""Speed, growth and quality of deduplication."""
