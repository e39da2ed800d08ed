"""Distillation through pretrained diffusion models: DIVER refines a distilled set, EDITS generates one."""
