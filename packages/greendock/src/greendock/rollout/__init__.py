"""A new version on one host with plain Compose: `greendock rollout`. Standard library only."""
