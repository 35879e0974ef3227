"""The pictures of the command `paper`, and the page and LaTeX tables around them. Reads tables, knows no SAEs."""
