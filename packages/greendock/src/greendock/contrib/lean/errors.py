"""What can go wrong with the peer, apart from what can go wrong in the application."""


class PeerGoneError(ConnectionError):
    """The peer closed or reset the connection while it was being answered."""


class PeerSilentError(TimeoutError):
    """The peer neither sent nor took a byte for ``timeout`` seconds."""
