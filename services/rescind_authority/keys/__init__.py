"""Read and write the key files. Reload them while the authority runs."""
