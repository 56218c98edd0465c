"""What a rule says that is legal and probably not meant, one kind of finding a file."""
