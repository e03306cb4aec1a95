"""What the draft says, written down a second time and without a look at fsp_trio."""
