"""Who calls the control plane: what a caller brings, and the authenticators that judge it."""
