"""Files here and elsewhere: atomic, checked, downloaded once."""
