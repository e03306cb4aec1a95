"""Cases of draft-jason-fsp-00."""
