"""Independent re-derivations in NumPy float64: written from the papers, sharing nothing with the package."""
