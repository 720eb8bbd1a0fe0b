"""Pure density: invertible maps and base densities in torch. Knows no images and no settings."""
