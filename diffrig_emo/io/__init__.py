"""Files: meshes, pictures, pickles from strangers, and writing that never leaves half a file."""
