"""What this machine or container allows: CPUs and memory, networks, scheduling."""
