"""What is particular to each corpus, one file a corpus."""
