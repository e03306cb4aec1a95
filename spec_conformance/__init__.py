"""What the drafts demand, kept apart from what fsp_trio does."""
