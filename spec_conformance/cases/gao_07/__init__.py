"""Cases of draft-gao-flexible-session-protocol-07."""
