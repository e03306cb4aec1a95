"""What a run has found, in forms for people and for machines."""
