"""Packets of both drafts as the suite writes and reads them: from the drafts, and not from any implementation."""
