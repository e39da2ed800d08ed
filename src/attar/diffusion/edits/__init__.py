"""EDITS: captions, clusters and prototypes of images and texts that guide a diffusion model; D4M and VLCP as presets."""
