"""Studies: grids of networks, made, measured and gathered into tidy results."""
