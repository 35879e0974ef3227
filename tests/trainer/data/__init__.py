"""Laws of the token rows."""
