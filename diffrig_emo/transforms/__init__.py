"""Functions between spaces: value ranges, projection, crops, edits of codes."""
