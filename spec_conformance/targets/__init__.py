"""Who is tested, and how datagrams get there."""
