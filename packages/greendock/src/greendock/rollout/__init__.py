"""Rolling out a new version on one host with plain Compose. Standard library only; `deploy/rollout` is the command."""
