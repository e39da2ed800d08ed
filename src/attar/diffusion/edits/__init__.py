"""EDITS: captions, clusters and prototypes of both that guide a diffusion model; D4M and VLCP as presets."""
