"""What an edit of a constitution does, before anything is trained: tests, differences."""
