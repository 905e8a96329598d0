"""Installing Dragoman in a cluster, and taking it away: what to apply, in which order, and when it is done."""
