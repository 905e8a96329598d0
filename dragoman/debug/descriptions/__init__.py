"""What the mesh's objects mean for one pod or one service: what `dragoman describe` shows."""
