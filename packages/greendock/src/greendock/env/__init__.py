"""Environment variables: their types, where values come from, what is wrong with them."""
