"""Sessions whose ends change their addresses."""
